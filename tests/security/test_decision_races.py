"""Words from several threads at once: the owner's cells, console, rules, time and the scientist.

Everything that decides runs on the session's loop. Whoever is first ends a request, each acceptance
is one release, and a rule decides about as many as it may.
"""

import contextlib
import threading
from collections import Counter

from duet_p2p.console.actions import Actions
from duet_p2p.console.messages import Accept, Deny
from duet_p2p.console.views import Views, digest_of
from duet_p2p.errors import RequestClosed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from tests.security.raw_peer import RawPeer
from tests.security.rules_kit import Session, X, session

__all__ = ["session"]

ENDS = {
    "Accepted": [wire.Value],
    "Rejected": [wire.Denied],
    "Expired": [wire.Expired],
    "Withdrawn": [],
}


def at_once(*works):
    """Runs functions in a thread each, all of them from the same moment on."""
    start, failed = threading.Barrier(len(works)), []

    def run(work):
        start.wait()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def say(word):
    """One word; that somebody else was first is an answer."""
    with contextlib.suppress(RequestClosed):
        word()


class Console:
    """What a page does, with what it was shown at first."""

    def __init__(self, duet: OwnerDuet) -> None:
        service = duet._service
        self.duet = duet
        self.actions = Actions(service, Views(service.desk, service.catalog, "S"), "S")
        self.shown = [(r.id, digest_of(r._record)) for r in duet.requests.requests]
        self.done: Counter[bool] = Counter()

    def decide(self, kind, **more):
        for number, (request, digest) in enumerate(self.shown, 1):
            message = kind(n=number, request=request, digest=digest, **more)
            self.done[self.duet.wait_for(self.actions.answer(message))["ok"]] += 1


def asked(duet: OwnerDuet, raw: RawPeer, count: int, limit_s: float | None = None) -> list[int]:
    calls = [raw.request(raw.op("torch.mean", X), f"n{n}", limit_s) for n in range(count)]
    raw.wait(lambda: len(duet.requests) == count)
    return calls


def all_is_told(duet: OwnerDuet, raw: RawPeer) -> None:
    raw.wait_for_end()
    desk = duet._service.desk
    raw.wait(lambda: not any(desk.is_leaving(r.call) for r in duet.requests.history))
    raw.get(raw.put(1))  # answers come in order


def test_everybody_decides_at_once_and_each_request_ends_once(session: Session) -> None:
    duet, raw = session
    calls = asked(duet, raw, 40, limit_s=30.0)
    views = duet.requests.requests
    console = Console(duet)
    desk = duet._service.desk

    def time_is_up():
        def tick():
            now = desk._clock
            desk._clock = lambda: now() + 60.0
            desk.tick()

        duet.run(tick)

    at_once(
        lambda: [say(view.accept) for view in views],
        lambda: [say(view.accept) for view in reversed(views)],
        lambda: [say(view.deny) for view in views[::2]],
        lambda: console.decide(Accept, always=False),
        lambda: console.decide(Deny, reason="no"),
        lambda: raw.send(*[wire.Withdraw(call) for call in calls[::-3]]),
        lambda: duet.requests.add_handler("deny", name="n7"),
        lambda: duet.requests.add_handler("accept", name="n11"),
        time_is_up,
    )
    all_is_told(duet, raw)
    for view, call in zip(views, calls, strict=True):
        answers = [type(m) for m in raw.answers if getattr(m, "call", 0) == call]
        assert answers == ENDS[view.status], (view.status, view.why, answers)
    assert len(duet.requests) == 0
    (left,) = duet.run(desk.releases.totals.about, (X.id,))
    assert left.releases == sum(view.status == "Accepted" for view in views)


def test_a_rule_takes_no_more_than_it_may_whoever_adds_and_asks(session: Session) -> None:
    """Rules that come and go while requests arrive: each decides about three at most."""
    duet, raw = session
    means = [raw.op("torch.mean", X) for _ in range(60)]
    raw.wait_for_end()
    rules = []

    def add():
        for _ in range(10):
            rules.append(duet.requests.add_handler("accept", name="loss", max_uses=3))
            duet.requests.remove_handler(rules[-1])

    at_once(
        add,
        lambda: [raw.request(mean, "loss") for mean in means],
        lambda: [say(view.deny) for _ in range(20) for view in duet.requests.requests],
    )
    rules.append(duet.requests.add_handler("accept", name="loss", max_uses=3))
    all_is_told(duet, raw)
    asked_for = {request.call for request in duet.requests.history}
    values = [answer.call for answer in raw.told(wire.Value) if answer.call in asked_for]
    taken = Counter(r.why for r in duet.requests.history if r.status == "Accepted")
    assert len(values) == len(set(values)) == sum(taken.values())
    assert len(values) == sum(rule.uses for rule in rules)
    assert all(rule.uses <= 3 for rule in rules)
