"""A partner who asks for large values and takes none of them: what the owner's process keeps."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.owner.journal import LogJournal
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bulk_header import Kind, pack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.bomb_kit import MIB
from tests.security.raw_peer import RawPeer, against, waiting
from tests.unit.owner_kit import DEADLINE

ROOM = {"downloads_bytes": 8 * MIB}
X = Ref(-1)


def whole(raw: RawPeer, nbytes: int) -> Ref:
    """One's own."""
    return raw.op("torch.zeros", nbytes, dtype=Dtype("uint8"))


def have(raw: RawPeer, *values: wire.Value) -> None:
    """All bytes of them are here."""

    async def go() -> None:
        for value in values:
            assert value.blob is not None
            raw._life(wire.Complete(value.blob.transfer))

    raw.bridge.call(go(), DEADLINE)


def answers(raw: RawPeer, calls: list[int]) -> list[str]:
    return [type(raw.answer(call)).__name__ for call in calls]


def under_way(duet: OwnerDuet) -> tuple[int, int]:
    sent = duet._session.transfers
    return sent.out_bytes, sent.out_files


def test_what_nobody_takes_is_kept_up_to_a_limit_and_refused_one_past_it() -> None:
    """A get is ten bytes, and each left a copy of the value in memory of the owner's."""
    with against(limits=ROOM) as (duet, raw):
        ref = whole(raw, 2 * MIB)
        calls = [raw.ask_for(ref) for _ in range(40)]
        assert answers(raw, calls) == ["Value"] * 4 + ["Denied"] * 36
        assert under_way(duet) == (8 * MIB, 4)
        assert "downloads_bytes" in raw.told(wire.Denied)[0].reason
        raw.send(wire.Del((ref.id,)))
        large = whole(raw, 9 * MIB)
        assert answers(raw, [raw.ask_for(large)]) == ["Denied"]
        have(raw, *raw.told(wire.Value))  # who has them is given more, also a larger one alone
        raw.wait(lambda: under_way(duet) == (0, 0))
        assert answers(raw, [raw.ask_for(large)]) == ["Value"]


def test_what_is_refused_by_its_receiver_is_not_kept() -> None:
    with against(limits=ROOM) as (duet, raw):
        ref = whole(raw, 2 * MIB)
        for _ in range(8):
            value = raw.answer(raw.ask_for(ref))
            assert isinstance(value, wire.Value)
            raw.raw(Channel.BULK, pack(Kind.REFUSE, value.blob.transfer))
            raw.wait(lambda: under_way(duet) == (0, 0))


def moving(duet: OwnerDuet) -> int:
    """Transfers that are being sent, or wait for their turn."""
    return len(duet._session.transfers._bulk.sender._going)


@pytest.mark.parametrize("held", [0, limits.TRANSFERS])
def test_who_says_at_once_that_it_has_everything_ends_the_transfer(held: int) -> None:
    """It was forgotten, and what sent it waited for ever with the bytes in its hands.

    Some others wait for their GO meanwhile, and let nobody else begin.
    """
    with against(limits=ROOM) as (duet, raw):
        small, ref = whole(raw, 300_000), whole(raw, 2 * MIB)
        for _ in range(held):
            raw.answer(raw.ask_for(small))
        kept = under_way(duet)
        for _ in range(20):
            value = raw.answer(raw.ask_for(ref))
            assert isinstance(value, wire.Value)
            have(raw, value)
            raw.wait(lambda: under_way(duet) == kept)
        raw.wait(lambda: moving(duet) == held)
        assert duet.is_open


def test_an_accepted_value_that_has_no_room_is_not_called_released() -> None:
    with against({"x": torch.zeros(2 * MIB, dtype=torch.uint8)}, limits=ROOM) as (duet, raw):
        for _ in range(4):
            raw.answer(raw.ask_for(whole(raw, 2 * MIB)))
        handler = duet.requests.add_handler(action="accept", name="x", kinds={"verbatim"},
                                            max_elements=None, element_quota=3 * MIB)  # fmt: skip
        assert raw.ask(X, "x") == "Denied"
        request = waiting(duet, raw, X, "by hand")
        request.accept()
        assert isinstance(raw.answer(request.call), wire.Denied)
        assert "downloads_bytes" in request.why
        assert handler.elements == handler.uses == 0
        have(raw, *raw.told(wire.Value))
        raw.wait(lambda: under_way(duet) == (0, 0))
        assert raw.ask(X, "x") == "Value"


class SlowJournal(LogJournal):
    """A disk that takes its time: nothing that leaves is kept yet."""

    is_kept = True

    def commit(self, kind: str, facts: Any, content: Any) -> Any:
        return asyncio.get_running_loop().create_future()


def test_values_that_wait_for_the_log_are_kept_up_to_a_limit() -> None:
    """The log keeps a code of all bytes of each; requests come faster."""
    data = torch.zeros(2 * MIB, dtype=torch.uint8)
    with against({"x": data}, ROOM, journal=SlowJournal("owner-id")) as (duet, raw):
        duet.requests.add_handler(action="accept")
        calls = [raw.request(raw.op("torch.Tensor.clone", X), "x") for _ in range(12)]
        raw.wait(lambda: len(raw.told(wire.Denied)) == 8)
        assert "bytes wait" in raw.told(wire.Denied)[0].reason
        raw.wait_for_end()
        answered = {m.call for m in raw.answers if hasattr(m, "call")}
        assert [call in answered for call in calls] == [False] * 4 + [True] * 8


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nothing to count by")
def test_large_values_that_nobody_takes_are_few_open_files() -> None:
    with against() as (_, raw):
        before, nbytes = len(os.listdir("/proc/self/fd")), limits.PIPE_MEMORY_FILE_BYTES
        ref = whole(raw, nbytes)
        calls = [raw.ask_for(ref) for _ in range(limits.DOWNLOAD_FILES + 40)]
        assert answers(raw, calls).count("Value") == limits.DOWNLOAD_FILES
        assert len(os.listdir("/proc/self/fd")) - before <= limits.DOWNLOAD_FILES + 80
        assert answers(raw, [raw.ask_for(whole(raw, nbytes - 1))]) == ["Value"]  # no file
