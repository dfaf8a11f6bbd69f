"""The panel without a page: what it shows, and what it does with what a page says."""

import gc
import json
import logging
import os
import re
import weakref
from types import SimpleNamespace

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, RequestClosed
from duet_p2p.session.bridge import Bridge
from duet_p2p.session.transfers import Moving
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.hostile_kit import HOSTILE, assert_harmless_text
from tests.unit.owner_kit import owner_on
from tests.unit.scientist_kit import pair, wait

if os.environ.get("CI") != "true":
    pytest.importorskip("anywidget", reason="anywidget is not installed")

from duet_p2p.notebook import messages


@pytest.fixture
def owner():
    bridge = Bridge("owner with a panel")
    duet, scientist = owner_on(bridge)
    duet.send(torch.arange(20.0), tags=["ages"])
    scientist.op("torch.Tensor.mean", 1, Ref(-1))
    duet.panel().answers = []
    duet.panel().send = duet.panel().answers.append
    yield duet, scientist
    duet.close()
    bridge.close()


def shown(duet, scientist, found):
    """The panel's snapshot, as soon as `found` is true of it."""
    return scientist.wait_for(lambda: found(duet.panel().snapshot) and duet.panel().snapshot)


def ask(duet, scientist, name="mean", reason="to know it"):
    call = scientist.request(1, name, reason)
    now = shown(duet, scientist, lambda s: f"{call:016x}" in [r["id"] for r in s["requests"]])
    (request,) = [r for r in now["requests"] if r["id"] == f"{call:016x}"]
    return call, request


def page_says(duet, content):
    """A custom message, on the way that ipywidgets takes."""
    data = {"method": "custom", "content": content}
    duet.panel()._handle_msg({"content": {"data": data}, "buffers": []})


def decision(kind, request, /, **changes):
    made = {"type": kind, "request": request["id"], "seen": request["seen"], "reason": ""}
    return made | changes


# what it shows


def test_the_panel_is_one_for_a_session(owner):
    duet, _ = owner
    assert duet.panel() is duet.panel()


def test_a_request_is_shown_with_words_and_facts(owner):
    duet, scientist = owner
    _, request = ask(duet, scientist)
    facts = {fact["name"]: fact["value"] for fact in request["facts"]}
    assert (request["name"], request["reason"], request["state"]) == (
        *("mean", "to know it", "Pending"),
    )
    assert (facts["kind"], facts["numbers"], facts["records"], facts["sources"]) == (
        *("aggregate", "1", "20", "ages"),
    )
    assert (facts["bytes"], facts["rows"]) == ("4", "ages: whole of 20 records along axis 0")
    assert request["code"] == "store['ages'].mean()"
    assert re.fullmatch("[0-9a-f]{64}", request["seen"])


def test_what_it_shows_is_no_listing_of_the_cells(owner):
    """A position goes on meaning the row that a person read, however often the panel looked."""
    duet, scientist = owner
    call, _ = ask(duet, scientist)
    repr(duet.requests)
    scientist.send(wire.Withdraw(call))
    ask(duet, scientist, "came since")
    with pytest.raises(RequestClosed):
        duet.requests[0].accept()


def test_what_changes_while_it_waits_is_shown_and_closes_no_way_to_decide(owner):
    duet, scientist = owner
    duet.requests.add_handler(action="accept", name="other")
    call, request = ask(duet, scientist)
    duet.requests.add_handler(action="accept", name="third")
    scientist.op("torch.Tensor.sum", 2, Ref(-1))
    assert isinstance(scientist.answer(scientist.request(2, "other")), wire.Value)

    def around(snapshot):
        (shown,) = snapshot["requests"]
        return {fact["name"]: fact["value"] for fact in shown["around"]}

    now = shown(duet, scientist, lambda s: "once" in around(s)["released before"])
    assert around(now)["released before"] == "ages: once, 1 number in all"
    assert "the name is 'mean', not 'other'" in around(now)["handlers"]
    page_says(duet, decision("accept", request))
    assert isinstance(scientist.answer(call), wire.Value)


def test_decided_elsewhere_it_goes_away(owner):
    duet, scientist = owner
    ask(duet, scientist)
    duet.requests[0].accept()
    shown(duet, scientist, lambda s: not s["requests"])


def test_open_to_all_is_a_warning_as_long_as_it_holds(owner):
    duet, scientist = owner
    assert not duet.panel().snapshot["is_open_to_all"]
    duet.requests.add_handler(action="accept")
    shown(duet, scientist, lambda s: s["is_open_to_all"])
    duet.requests.clear_handlers()
    shown(duet, scientist, lambda s: not s["is_open_to_all"])


def test_what_is_under_way_is_shown(owner):
    duet, scientist = owner
    moving = [Moving(1, True, 10, 100), Moving(2, False, 0, 7)]
    scientist.session.transfers.moving = lambda: list(moving)
    now = shown(duet, scientist, lambda s: s["transfers"])
    assert now["transfers"] == [
        {"way": "out", "done": 10, "total": 100},
        {"way": "in", "done": 0, "total": 7},
    ]
    moving[:] = [Moving(n, True, 0, 1) for n in range(limits.PANEL_TRANSFERS + 1)]
    shown(duet, scientist, lambda s: len(s["transfers"]) == limits.PANEL_TRANSFERS)


def test_more_requests_than_fit_are_counted(owner):
    duet, scientist = owner
    for number in range(limits.PANEL_REQUESTS):
        scientist.request(1, str(number))
    now = shown(duet, scientist, lambda s: len(s["requests"]) == limits.PANEL_REQUESTS)
    assert now["more"] == 0
    scientist.request(1, "one more")
    now = shown(duet, scientist, lambda s: s["more"] == 1)
    assert len(now["requests"]) == limits.PANEL_REQUESTS


def test_positions_stay_what_a_listing_showed(owner):
    duet, scientist = owner
    first, _ = ask(duet, scientist, "first")
    assert "first" in repr(duet.requests)
    duet.requests[f"{first:016x}"].deny()
    ask(duet, scientist, "second")
    assert len(duet.requests) == 1
    with pytest.raises(Exception, match="Rejected"):
        duet.requests[0]


def test_a_closed_session_shows_that_nothing_waits(owner):
    duet, scientist = owner
    ask(duet, scientist)
    duet.close()
    now = shown(duet, scientist, lambda s: s["state"] == "closed")
    assert now["requests"] == [] and not now["has_console"]


def test_hostile_texts_are_texts(owner):
    duet, scientist = owner
    for text in [t for t in HOSTILE.values() if t.isascii()][: limits.PANEL_REQUESTS]:
        scientist.request(1, text, text)
    now = shown(duet, scientist, lambda s: len(s["requests"]) == limits.PANEL_REQUESTS)
    for request in now["requests"]:
        for text in (request["name"], request["reason"], *(f["value"] for f in request["facts"])):
            assert_harmless_text(text, lines=False)
    json.dumps(now)


def test_a_panel_keeps_no_session_alive():
    bridge = Bridge("forgotten owner")
    duet, _ = owner_on(bridge)
    panel, alive = duet.panel(), weakref.ref(duet)
    duet.close()
    bridge.close()
    del duet, _
    gc.collect()
    assert alive() is None and panel.snapshot["side"] == "owner"


def test_a_duet_shows_itself_as_its_panel_in_a_notebook_only(owner, monkeypatch):
    duet, _ = owner
    assert set(duet._repr_mimebundle_()) == {"text/plain", "text/html"}
    monkeypatch.setattr("duet_p2p.objects.panels.in_notebook", lambda: True)
    bundle = duet._repr_mimebundle_()
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == duet.panel().model_id
    assert bundle["text/plain"] == repr(duet)
    monkeypatch.setattr("duet_p2p.objects.panels.find_spec", lambda name: None)
    assert set(duet._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_without_anywidget_a_panel_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("duet_p2p.objects.panels.find_spec", lambda name: None)
    with pair(wait) as made, pytest.raises(NotAllowed, match=r"duet-p2p\[notebook\]"):
        made.duet.panel()


# what a page says


def test_a_click_accepts_what_was_shown(owner):
    duet, scientist = owner
    call, request = ask(duet, scientist)
    page_says(duet, decision("accept", request))
    assert scientist.value(call).item() == pytest.approx(9.5)
    assert duet.panel().answers == [{"type": "done", "request": request["id"], "text": "Accepted"}]


def test_a_click_denies_with_the_reason(owner):
    duet, scientist = owner
    call, request = ask(duet, scientist)
    page_says(duet, decision("deny", request, reason="not before Monday"))
    assert scientist.answer(call) == wire.Denied(call, "not before Monday")


def test_what_was_not_shown_is_not_decided(owner):
    duet, scientist = owner
    _, first = ask(duet, scientist, "first")
    _, second = ask(duet, scientist, "second")
    page_says(duet, decision("accept", first, seen=second["seen"]))
    assert len(duet.requests) == 2
    assert duet.panel().answers[-1]["type"] == "error"


def test_a_decision_of_what_is_decided_or_gone_changes_nothing(owner):
    duet, scientist = owner
    _, request = ask(duet, scientist)
    duet.requests[0].deny("no")
    page_says(duet, decision("accept", request))
    page_says(duet, decision("accept", request, request="0" * 16))
    assert [answer["type"] for answer in duet.panel().answers] == ["error", "error"]
    assert "Rejected" in duet.panel().answers[0]["text"]
    assert duet.requests.history[0].status == "Rejected"


def hostile_messages():
    good = {"type": "accept", "request": "0" * 16, "seen": "0" * 64, "reason": ""}
    yield from (None, 5, "accept", [], [good], {}, {"type": "accept"}, {"type": ["accept"]})
    yield from ({"type": "eval", "code": "1"}, {"type": "console", "x": 1}, {**good, "always": 1})
    yield from ({**good, "type": "accept_all"}, {**good, "type": None}, {**good, "request": 0})
    yield from ({**good, "request": "0" * 15}, {**good, "request": "0" * 16 + "\n"})
    yield from ({**good, "request": "0" * 15 + "G"}, {**good, "seen": ""}, {**good, "seen": None})
    yield from ({**good, "seen": "0" * 63 + "ß"}, {**good, "reason": 1})
    yield from ({**good, "reason": "x" * (limits.REQUEST_REASON_CHARS + 1)}, {"__proto__": good})
    yield {key: value for key, value in good.items() if key != "seen"}


@pytest.mark.parametrize("content", list(hostile_messages()), ids=lambda c: repr(c)[:60])
def test_a_hostile_message_is_ignored_with_an_error(owner, caplog, content):
    duet, scientist = owner
    ask(duet, scientist)
    with caplog.at_level(logging.WARNING, "duet_p2p.notebook"):
        page_says(duet, content)
    assert "ignored a message" in caplog.text
    assert [answer["type"] for answer in duet.panel().answers] == ["error"]
    assert len(duet.requests) == 1


def test_the_longest_reason_is_taken():
    good = {"type": "deny", "request": "0" * 16, "seen": "0" * 64}
    good["reason"] = "x" * limits.REQUEST_REASON_CHARS
    assert messages.read(good) == good


def test_a_page_cannot_set_what_is_shown(owner, caplog):
    duet, scientist = owner
    _, request = ask(duet, scientist)
    before = duet.panel().snapshot
    state = {"snapshot": {"side": "owner"}, "_esm": "alert(1)"}
    data = {"method": "update", "state": state}
    duet.panel()._handle_msg({"content": {"data": data}, "buffers": []})
    assert duet.panel().snapshot == before and request["id"] in str(before)
    assert "alert(1)" not in duet.panel()._esm
    assert "cannot set" in caplog.text


def test_the_console_is_opened_where_there_is_one(owner, monkeypatch):
    duet, _ = owner
    opened = []
    monkeypatch.setattr(
        type(duet), "console", lambda self: opened.append(self) or "<Console>", raising=False
    )
    page_says(duet, {"type": "console"})
    assert opened == [duet]
    assert duet.panel().answers == [{"type": "done", "request": "", "text": "<Console>"}]


# the scientist's


def test_a_scientist_sees_own_requests_and_cannot_decide():
    with pair(wait) as made:
        made.link.transfers, made.link.status = (
            SimpleNamespace(moving=list),
            lambda: {"state": "open", "path": None},
        )
        pointer = made.share(torch.arange(6.0), "ages").mean()
        panel = made.duet.panel()
        answers = []
        panel.send = answers.append
        request = pointer.request(name="mean", reason="why")
        panel._push()
        (row,) = panel.snapshot["requests"]
        assert (row["id"], row["state"], row["seen"]) == (request.id, "Pending", "")
        good = {"type": "accept", "request": request.id, "seen": "0" * 64, "reason": ""}
        panel._handle_msg(
            {"content": {"data": {"method": "custom", "content": good}}, "buffers": []}
        )
        assert answers[0]["type"] == "error"
        made.owner.decide_waiting("deny")
        request.wait(10)
        panel._push()
        assert [r["state"] for r in panel.snapshot["requests"]] == ["Rejected"]
