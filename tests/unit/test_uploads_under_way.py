"""Announced uploads count before they arrive, until the engine has done with them."""

import asyncio
import errno

import pytest

from duet_p2p import limits
from duet_p2p.engine.landing import HAS_MEMORY_FILES, Landing
from duet_p2p.errors import ProtocolError
from duet_p2p.owner.uploads import Uploads
from duet_p2p.wire.values import Blob
from tests.unit.owner_kit import FakeSession


@pytest.fixture
def arrived():
    return []


@pytest.fixture
async def uploads(arrived):
    session = FakeSession()
    made = Uploads(
        session, lambda t, data, why: arrived.append((t, bytes(data), why)), one=10, together=25
    )
    made.session = session
    return made


async def test_one_upload_at_its_limit_is_taken_and_one_past_it_is_not(uploads, arrived):
    uploads.expect(1, Blob(1, 10))
    uploads.expect(2, Blob(2, 11))
    assert list(uploads.session.expected) == [1]
    assert uploads.session.refused == [2]
    assert arrived == []  # the engine refuses it by the same number


async def test_all_together_have_a_limit_and_one_past_it_fails_alone(uploads, arrived):
    for transfer, nbytes in ((1, 10), (2, 10), (3, 5), (4, 1)):
        uploads.expect(transfer, Blob(transfer, nbytes))
    assert uploads.under_way == 25
    assert uploads.session.refused == [4]
    assert [(t, data) for t, data, _ in arrived] == [(4, b"")]
    assert "uploads_bytes" in arrived[0][2] and "25 allowed" in arrived[0][2]
    uploads.session.expected[1].set_result(b"0123456789")
    await asyncio.sleep(0)
    assert arrived[-1] == (1, b"0123456789", "")
    uploads.expect(5, Blob(5, 1))  # the engine may be busy: until it took it, it is kept
    assert uploads.session.refused == [4, 5]
    uploads.settled(1)
    uploads.expect(6, Blob(6, 10))
    assert uploads.under_way == 25


async def test_what_does_not_arrive_fails_the_upload_and_frees_its_room(uploads, arrived):
    uploads.expect(1, Blob(1, 10))
    uploads.expect(2, Blob(1, 10))  # declared twice
    uploads.session.expected[1].cancel()
    await asyncio.sleep(0)
    assert arrived == [(1, b"", ""), (1, b"", "")]
    uploads.settled(2)
    assert uploads.under_way == 0


async def test_a_number_that_is_used_again_is_another_upload(uploads, arrived):
    for transfer, nbytes in ((1, 5), (2, 1)):
        uploads.expect(transfer, Blob(transfer, nbytes))
    uploads.session.expected[2].set_result(b"0")
    await asyncio.sleep(0)
    del uploads.session.expected[2]
    uploads.expect(3, Blob(2, 10))
    uploads.session.expected[1].set_result(b"01234")
    await asyncio.sleep(0)
    uploads.settled(2)
    assert uploads.under_way == 10


async def test_so_many_large_ones_are_asked_for_and_the_next_when_one_is_done_with(arrived):
    session = FakeSession()
    uploads = Uploads(session, lambda *it: arrived.append(it), one=1 << 20, together=1 << 30)
    large, most = limits.PIPE_MEMORY_FILE_BYTES, limits.UPLOAD_FILES
    for transfer in range(1, most + 1):
        uploads.expect(transfer, Blob(transfer, large))
    uploads.expect(most + 1, Blob(most + 1, large - 1))  # no file
    uploads.expect(most + 2, Blob(most + 2, large))
    uploads.expect(most + 3, Blob(most + 3, 1))  # in order: the engine needs those before it first
    assert list(session.expected) == list(range(1, most + 2)) and not session.refused
    uploads.settled(1)
    assert list(session.expected) == list(range(1, most + 4))


@pytest.mark.skipif(not HAS_MEMORY_FILES, reason="needs memory files")
async def test_a_large_one_that_cannot_be_kept_says_why_and_fails_alone(arrived, monkeypatch):
    session = FakeSession()
    uploads = Uploads(session, lambda *it: arrived.append(it), one=1 << 20, together=1 << 30)
    for transfer in (1, 2):
        uploads.expect(transfer, Blob(transfer, limits.PIPE_MEMORY_FILE_BYTES))

    def full(place):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(Landing, "complete", full)
        session.expected[1].set_result(Landing(100_000))
        await asyncio.sleep(0)
    place = Landing(100_000)
    session.expected[2].set_result(place)
    await asyncio.sleep(0)
    refusal = "100000 bytes arrived and could not be kept (Cannot allocate memory): send again"
    assert arrived == [(1, b"", refusal), (2, place, "")]
    with pytest.raises(PermissionError):
        place.write(0, b"x")


async def test_what_was_on_its_way_to_an_engine_that_died_goes_to_no_other(uploads, arrived):
    for transfer in (1, 2, 3):
        uploads.expect(transfer, Blob(transfer, 5))
    expected = uploads.session.expected
    expected[1].set_result(b"01234")
    await asyncio.sleep(0)
    expected[2].set_result(b"01234")
    uploads.engine_died()
    expected[3].set_result(b"01234")
    await asyncio.sleep(0)
    assert [transfer for transfer, *_ in arrived] == [1] and uploads.session.refused == [3]
    assert uploads.under_way == 0
    uploads.settled(3)
    assert uploads.under_way == 0


async def test_a_partner_who_leaves_too_many_refusals_without_an_answer_is_out(uploads):
    def refuse_blob(transfer):
        raise ProtocolError("too many")

    uploads.session.refuse_blob = refuse_blob
    uploads.session.on_state = lambda state, error: None
    uploads.refuse(1)
    assert isinstance(uploads.session.failed, ProtocolError)
