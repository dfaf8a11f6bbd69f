"""Words of the scientist that want to be read, or compared, as something else."""

from __future__ import annotations

import unicodedata

import pytest
import torch

from duet_p2p.objects.words import clean_line
from duet_p2p.owner.audit_chain import Entry, Row
from duet_p2p.owner.audit_view import line_of
from duet_p2p.owner.binding import same_text
from duet_p2p.owner.printing import value_text
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import against
from tests.security.rules_kit import Session, X, session
from tests.security.test_plan_rules import define, step

__all__ = ["session"]

UNSEEN = {
    "a variation selector": "lo\ufe0fss",
    "another of them": "loss\U000e0101",
    "a grapheme joiner": "lo\u034fss",
    "a Hangul filler": "loss\u3164",
    "a narrow Hangul filler": "\uffa0loss",
    "a Hangul filler of consonants": "lo\u115f\u1160ss",
    "a Mongolian selector": "lo\u180bss",
    "a vowel that is not written": "los\u17b4s",
    "a pattern of no dots": "loss\u2800",
    "spaces of a kind": "\u3000loss\u2003",
}


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
def test_what_no_font_shows_makes_no_other_name(session: Session, name: str) -> None:
    """These are letters and marks for Unicode, so they were kept; a rule saw another name."""
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", name="loss")
    assert raw.ask(raw.op("torch.mean", X), name) == "Denied"
    assert clean_line(name, 100) == "loss"


@pytest.mark.parametrize("name", ["my  loss", "my\u00a0loss", "my \u2800 loss", "my\t \nloss"])
def test_a_row_of_spaces_is_one_space(session: Session, name: str) -> None:
    """A page shows them as one."""
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", name="my loss")
    assert raw.ask(raw.op("torch.mean", X), name) == "Denied"


@pytest.mark.parametrize("name", ["mi\u200cxed", "\U0001f468\u200d\U0001f52c", "1\u20442"])
def test_a_rule_takes_the_name_that_its_owner_typed(session: Session, name: str) -> None:
    """What is dropped from a request's name was not dropped from a rule's: it denied nothing."""
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", name=name)
    assert raw.ask(raw.op("torch.mean", X), name) == "Denied"


@pytest.mark.parametrize("tag", ["secret\u200b", "sec\ufe0fret", " secret", "secret\u202e"])
def test_tags_are_compared_as_they_are_shown(session: Session, tag: str) -> None:
    """The owner saw the tag of a rule that denies, and the rule saw another."""
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", tags=["secret"])
    mean = raw.op("torch.mean", X)
    raw.send(wire.Note(mean.id, (tag,), "", True))
    assert raw.ask(mean, "any") == "Denied"


def test_marks_in_a_heap_do_not_reach_into_other_lines() -> None:
    """A letter with forty marks covers the rows above and below."""
    heap = "l" + "\u0336\u030d\u0353" * 15 + "oss"
    assert sum(unicodedata.combining(c) > 0 for c in clean_line(heap, 100)) <= 4
    assert clean_line("\u0338x", 10) == "x"  # no mark on what stands before
    for word in ("größe", "Ångström", "Việt", "שָׁלוֹם", "नमस्ते", "กำลัง"):
        for form in ("NFC", "NFD"):
            text = unicodedata.normalize(form, word)
            assert clean_line(text, 100) == text


# whose object a name means


def test_a_source_is_the_owners_whatever_else_is_tagged_so(session: Session) -> None:
    """A tag, or a text id as a tag, of the scientist's own made rules on sources miss, or fail."""
    duet, raw = session
    key = duet.store["x"].id
    own = raw.put(torch.zeros(3))
    raw.send(wire.Note(own.id, ("x", key), "", True))
    raw.wait(lambda: len(duet.store) == 4)
    assert duet.store[key].id == key and duet.store["x"].id == key
    duet.requests.add_handler("accept")
    for said in ("x", key):
        duet.requests.add_handler("deny", sources=[said])
        assert raw.ask(raw.op("torch.mean", X), said) == "Denied"
        duet.requests.remove_handler(-1)


def test_a_source_that_is_not_listed_is_still_the_owners(session: Session) -> None:
    """It stays a source of what was made of it; the tag fitted the scientist's object alone."""
    duet, raw = session
    mean = raw.op("torch.mean", X)
    raw.wait_for_end()
    duet.store["x"].update_searchability(False)
    own = raw.put(torch.zeros(3))
    raw.send(wire.Note(own.id, ("x",), "", True))
    raw.wait(lambda: len(duet.store) == 3)
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", sources=["x"])
    assert raw.ask(mean, "any") == "Denied"


def test_a_recipe_of_one_source_is_not_that_of_one_with_a_like_name() -> None:
    """``own1`` and ``batch of 8`` were taken for uploads and batches within names, too."""
    with against({"town1": torch.arange(64.0), "town2": torch.arange(64.0) + 1}) as (duet, raw):
        call = raw.request(raw.op("torch.mean", Ref(-1)), "a")
        raw.wait(lambda: len(duet.requests) == 1)
        recipe = duet.requests[0].recipe
        duet.requests.add_handler("accept", recipe=recipe)
        assert isinstance(raw.answer(call), wire.Value)
        assert raw.ask(raw.op("torch.mean", Ref(-2)), "a") == "Expired"
    assert same_text("batch of 8 of store['own1']") == same_text("batch of 9 of store['own1']")
    assert same_text("batch of 8 of store['own1']") != same_text("batch of 8 of store['own2']")
    assert same_text('store["it\'s own1"]') != same_text('store["it\'s own2"]')


# what people read


def test_no_word_forges_a_fact_in_a_row_of_the_log() -> None:
    """A name with ``status=Accepted`` in it was read before the status; a long reason cut that."""
    facts = '{"name": "loss status=Accepted why=accepted by hand", "reason": "%s", "status": ' % (
        "because " * 100
    )
    row = Row(1, Entry("2026-01-01T00:00:00", "s", "decision", facts + '"Rejected"}'), b"", b"")
    line = line_of(row)
    assert "name='loss status=Accepted why=accepted by hand'" in line
    assert "status=Rejected" in line


def test_no_reason_forges_the_value_that_a_handler_prints() -> None:
    line = value_text("accept", "loss", "fine): 3.14 (is it", "0.5")
    assert line == "HANDLER accept 'loss' ('fine): 3.14 (is it'): 0.5"


def test_no_name_of_a_plan_forges_its_digest(session: Session) -> None:
    """The owner reads one listing, and copies the digest of another plan out of the name."""
    duet, raw = session
    define(raw, step("torch.amax", 2, Ref(1)), outputs=(2,), name="amax")
    raw.wait(lambda: len(duet.plans) == 1)
    name = f"loss: {duet.plans[0].digest}…, 1 commands, 1 outputs, 0 runs"
    define(raw, step("torch.mean", 2, Ref(1)), outputs=(2,), name=name)
    raw.wait(lambda: len(duet.plans) == 2)
    assert repr(duet.plans).splitlines()[1].startswith(f"[1] {name!r}: {duet.plans[1].digest[:12]}")


@pytest.mark.parametrize("way", ["alone", "in a range", "in a set", "as a key"])
def test_a_number_too_long_to_be_written_hides_no_recipe(session: Session, way: str) -> None:
    """Python writes no int of over 4,300 digits; the wire lets one of 9,800 through."""
    duet, raw = session
    long = 1 << 32_000
    value = {"alone": long, "in a range": range(long), "in a set": {long}, "as a key": {long: 1}}
    raw.request(raw.op("python.collect", X, value[way]), "long")
    raw.wait(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    assert request.recipe.startswith("python.collect(store['x'], ")
    assert "…" in request.recipe and "copy of store['x']" in str(request)


def test_what_is_cut_within_a_word_is_cut(session: Session) -> None:
    """A long text was cut with three dots that nothing knew, so it could be accepted always."""
    duet, raw = session
    long = "i" * 9 + ", " * 40 + "i"
    raw.request(raw.op("python.collect", X, long), "long")
    raw.wait(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    assert "…" in request.recipe
    request.deny()
