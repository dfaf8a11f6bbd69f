"""Each limit of `launch_duet(limits=…)` set very low, and ordinary work that crosses it.

By our own client, as an honest user would meet it: an error of a type of ours that names the limit,
what is shared is what it was, and the same session goes on with work that is within the limit.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p import api, limits
from duet_p2p.engine.host import ProcessHost
from duet_p2p.errors import DuetError, NoAnswer, NotAllowed, QuotaExceeded
from duet_p2p.owner.quotas import QUOTAS, checked_quotas
from duet_p2p.scientist import client
from tests.surface.joined import Joined, joined, until

X = torch.arange(1_000.0)
MIB = 1024 * 1024
SECONDS = 60.0
Crossing = Callable[[Joined], None]
CASES: dict[str, tuple[int, Crossing]] = {}


def low(name: str, value: int) -> Callable[[Crossing], Crossing]:
    """Ordinary work that crosses this limit at this value, and raises."""

    def kept(crossing: Crossing) -> Crossing:
        CASES[name] = (value, crossing)
        return crossing

    return kept


def answer(request: Any) -> Any:
    request.wait(SECONDS)
    return request.released()


def names(name: str, error: BaseException) -> bool:
    return isinstance(error, DuetError) and name in str(error)


def work(both: Joined) -> None:
    """What is within every limit here."""
    duet = both.scientist
    assert duet.torch.ones(4).sum().get() == 4
    assert torch.ones(8).send(duet).sum().get() == 8
    wanted = duet.store["x"].sum()
    asked = wanted.request(reason="how many", name="sum")
    until(lambda: len(both.owner.requests.requests) == 1)
    both.owner.requests[0].accept()
    assert answer(asked) == X.sum()


@low("objects", 20)
def too_many(both: Joined) -> None:
    kept = [both.scientist.torch.ones(2) for _ in range(50)]  # more than are kept of failures
    kept[-1].get()


@low("stored_bytes", 20_000)
def too_much(both: Joined) -> None:
    kept = [both.scientist.torch.ones(1_000) for _ in range(8)]
    kept[-1].get()


@low("result_bytes", 8_000)
def too_large(both: Joined) -> None:
    both.scientist.torch.ones(2_001).sum().get()


@low("upload_bytes", 1_000)
def too_long(both: Joined) -> None:
    torch.ones(20_000).send(both.scientist).sum().get()


@low("uploads_bytes", 1_000)
def too_much_at_once(both: Joined) -> None:
    torch.ones(20_000).send(both.scientist).sum().get()


@low("downloads_bytes", 1_000)
def not_taken(both: Joined) -> None:
    """Both are accepted in one turn of the loop: nobody can have taken the first by then."""
    large = [both.scientist.torch.ones(4 * MIB) + both.scientist.store["x"].sum() for _ in "ab"]
    asked = [value.request(reason="large", name=f"large {n}") for n, value in enumerate(large)]
    until(lambda: len(both.owner.requests.requests) == 2)
    desk = both.owner._service.desk
    calls = [record.call for record in desk.book.pending()]

    async def accept() -> None:
        for call in calls:
            desk.accept(call)

    both.bridge.call(accept(), SECONDS)
    assert torch.equal(answer(asked[0]), torch.full([4 * MIB], 499_501.0))
    answer(asked[1])


@low("open_requests", 2)
def too_many_open(both: Joined) -> None:
    x = both.scientist.store["x"]
    asked = [x[n:].sum().request(reason="more", name=f"from {n}") for n in range(3)]
    until(lambda: len(both.owner.requests.requests) == 2)
    try:
        answer(asked[-1])
    finally:
        for request in list(both.owner.requests.requests):
            request.deny()


@low("commands_per_second", 20)
def too_fast(both: Joined) -> None:
    value = both.scientist.torch.ones(1)
    for _ in range(64):
        value = value + 1
    usual, client.ANSWER_SECONDS = client.ANSWER_SECONDS, 0.5
    try:
        value.get()
    finally:
        client.ANSWER_SECONDS = usual
        until(lambda: both.owner._service._gate.held == 0)
        assert value.get().item() == 65  # nothing was lost


@low("timed_per_minute", 1)
def too_often(both: Joined) -> None:
    x = both.scientist.store["x"]
    kept = [both.scientist.torch.unique(x) for _ in "ab"]
    kept[-1].sum().get()


QUICK = tuple(CASES)


def named_by_the_owners_errors(both: Joined, name: str) -> None:
    until(lambda: both.owner.errors and name in both.owner.errors[-1].text)
    until(lambda: not both.owner._service.revival.is_under_way)
    both.owner.resume()
    raise QuotaExceeded(f"({name})")  # to whom it may be told: the owner


@low("command_seconds", 1)
def for_ever(both: Joined) -> None:
    torch_ = both.scientist.torch
    torch_.linalg.matrix_power(torch_.ones(2_500, 2_500), 2**62 + 1)
    named_by_the_owners_errors(both, "command_seconds")


@low("run_seconds", 1)
def again_and_again(both: Joined) -> None:
    duet = both.scientist
    weight, square = duet.torch.ones(3), duet.torch.ones(700, 700)
    weight.requires_grad_(True)
    optimizer = duet.torch.optim.LBFGS(
        [weight], max_iter=10_000, tolerance_grad=0, tolerance_change=0
    )

    @duet.step
    def closure() -> Any:
        optimizer.zero_grad()
        torch_power(square, 2**10)
        loss = weight.sum()
        loss.backward()
        return loss

    torch_power = duet.torch.linalg.matrix_power
    optimizer.step(closure)
    duet._client.flush()
    named_by_the_owners_errors(both, "run_seconds")


@low("cpu_seconds", 1)
def all_the_time(both: Joined) -> None:
    torch_ = both.scientist.torch
    for _ in range(8):
        torch_.linalg.matrix_power(torch_.ones(2_500, 2_500), 2**5 + 1)
    named_by_the_owners_errors(both, "cpu_seconds")


@low("memory_bytes", limits.ENGINE_MEMORY_MIN_BYTES)
def no_memory(both: Joined) -> None:
    both.scientist.torch.ones(64 * MIB).sum().get()


@low("closed_reads", 1)
def a_directory_too_late(both: Joined) -> None:
    until(lambda: both.owner._service.started)
    if not both.owner._service.started.are_files_closed:
        pytest.skip("this kernel closes no files")
    both.owner.data.register("late", Path(__file__).parent)


def run(name: str, both: Joined) -> None:
    both.owner.send(X, tags=["x"])
    until(lambda: len(both.scientist.store) == 1)
    work(both)
    try:
        CASES[name][1](both)
    except DuetError as error:
        told = error.with_traceback(None)
    else:
        pytest.fail("nothing was said")
    assert names(name, told) or type(told) in (NoAnswer, NotAllowed), told
    gc.collect()
    assert torch.equal(both.owner.store[0].get(), X)
    assert both.owner.is_open and both.scientist.is_open
    until(lambda: both.scientist.store)
    work(both)


def test_no_limit_is_left_out() -> None:
    assert set(CASES) == set(QUOTAS)


@pytest.mark.parametrize("name", QUICK)
def test_what_crosses_a_low_limit_is_told_so_and_the_session_goes_on(name: str) -> None:
    with joined(limits={name: CASES[name][0]}) as both:
        run(name, both)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK])
def test_so_it_is_for_those_of_the_engines_process(name: str) -> None:
    with joined(limits={name: CASES[name][0]}, host=ProcessHost()) as both:
        run(name, both)


BAD = (-1, -(2**70), 2**70, 10**5_000, 0.5, float("nan"), float("inf"), "5", "", None, True, [1])


@pytest.mark.parametrize("name", QUOTAS)
def test_a_number_that_makes_no_sense_is_refused_by_its_name(name: str) -> None:
    for value in BAD:
        with pytest.raises(ValueError, match=f"'{name}' is a whole number from") as refused:
            checked_quotas({name: value})
        assert len(str(refused.value)) < 400
    has_zero = name in ("command_seconds", "run_seconds", "cpu_seconds", "memory_bytes",
                        "closed_reads", "timed_per_minute")  # fmt: skip
    if has_zero:
        assert checked_quotas({name: 0})[name] == 0
    else:
        with pytest.raises(ValueError, match=name):
            checked_quotas({name: 0})


def test_each_bound_is_allowed_and_one_past_it_is_not() -> None:
    for name in QUOTAS:
        least = limits.ENGINE_MEMORY_MIN_BYTES if name == "memory_bytes" else 1
        is_time = name in ("command_seconds", "run_seconds", "cpu_seconds")
        most = limits.QUOTA_MAX_SECONDS if is_time else limits.QUOTA_MAX
        most = 1 if name == "closed_reads" else most
        assert checked_quotas({name: least})[name] == least
        assert checked_quotas({name: most})[name] == most
        for value in (least - 1 or -1, most + 1):
            with pytest.raises(ValueError, match=name):
                checked_quotas({name: value})


@pytest.mark.parametrize("given", [{"cheese": 1}, {"objects": 0}, {5: 5}, [("objects", 5)], "low"])
def test_a_launch_with_bad_limits_leaves_nothing_running(
    given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    before = set(threading.enumerate())
    with pytest.raises((ValueError, TypeError), match="limit"):
        api.launch_duet(loopback="limits", wait=False, logging=False, limits=given)
    until(lambda: set(threading.enumerate()) <= before)
