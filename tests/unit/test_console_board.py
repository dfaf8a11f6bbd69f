"""What one picture of the console makes at once, and what waits for the next one."""

import json
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.console.board import EMPTY, SECTIONS, Board, difference
from duet_p2p.owner.handlers import Conditions, Handler
from tests.unit.console_kit import OWNER, stage
from tests.unit.owner_kit import LOSS

__all__ = ["stage"]

FEW = 5
LISTED = [f"{call:016x}" for call in range(1, FEW + 1)]
TAGS = tuple(f"{number} " + "\u4e00\u0301" * 100 for number in range(limits.TAGS))


@pytest.fixture
def hurried(monkeypatch):
    """There is time for one new entry in a picture."""
    monkeypatch.setattr(limits, "CONSOLE_PICTURE_SECONDS", 0.0)


def asked(stage, count=FEW):
    for call in range(1, count + 1):
        stage.ask(call=call, object_id=call, facts=replace(LOSS, tags=TAGS))


def pictures(board):
    """Those that are made until nothing is left."""
    made = [board.picture()]
    while board.is_behind:
        made.append(board.picture())
    return made


async def test_what_a_picture_has_no_time_for_is_in_the_next_ones(stage, hurried):
    asked(stage)
    made = pictures(Board(stage.service, stage.session, OWNER))
    assert [len(picture["requests"]) for picture in made] == [1, 2, 3, 4, 5]
    assert list(made[0]["requests"]) == LISTED[:1]  # the oldest one first


async def test_what_was_shown_stays_until_it_is_made_again(stage, hurried):
    """A rule concerns every request: they change one after the other, and none goes meanwhile."""
    asked(stage)
    board = Board(stage.service, stage.session, OWNER)
    old = pictures(board)[-1]
    stage.desk.add_handler(Handler("accept", Conditions(name="accuracy")))
    made = pictures(board)
    assert made[0]["handlers"]  # the owner's own word first
    changed = [sum(old["requests"][id] != new["requests"][id] for id in LISTED) for new in made]
    assert changed == [0, 1, 2, 3, 4, 5]
    assert all("accuracy" in text for text in made[-1]["requests"].values())


async def test_who_changes_all_the_time_keeps_nothing_else_from_being_shown(stage, hurried):
    """Each picture makes what has waited longest, not what stands first."""
    asked(stage)
    board = Board(stage.service, stage.session, OWNER)
    for call in range(FEW):
        picture = board.picture()
        stage.desk.releases.totals.add(100 + call, LOSS)
    assert len(picture["requests"]) == FEW


async def test_what_is_gone_leaves_at_once(stage, hurried):
    asked(stage)
    board = Board(stage.service, stage.session, OWNER)
    pictures(board)
    stage.desk.withdraw(1)
    assert LISTED[0] not in board.picture()["requests"]


async def test_a_page_gets_all_of_it_without_another_change(stage, hurried):
    page = await stage.page()
    asked(stage)
    await page.until(lambda: len(page.requests()) == FEW)


async def test_a_large_difference_is_several_messages(stage):
    """One of all requests with all their tags took the loop's time for compressing and sending."""
    asked(stage)
    new = pictures(Board(stage.service, stage.session, OWNER))[-1]
    most = len(next(iter(new["requests"].values()))) + 1_000
    seen, shown, messages = EMPTY, {section: {} for section in SECTIONS}, []
    while seen is not new:
        message, seen = difference(seen, new, most)
        messages.append(message)
        for section, change in json.loads(message)["sections"].items():
            shown[section].update(change["set"])
    assert len(messages) == 3
    assert max(map(len, messages)) < 3 * most
    assert shown == {s: {key: json.loads(t) for key, t in new[s].items()} for s in SECTIONS}


async def test_a_page_gets_a_large_difference_whole(stage, monkeypatch):
    asked(stage)
    monkeypatch.setattr("duet_p2p.console.page.difference", lambda a, b: difference(a, b, 1))
    page = await stage.page()
    await page.until(lambda: len(page.requests()) == FEW)
