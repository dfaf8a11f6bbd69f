"""What the other side writes is text on this side's screen and nothing else, object by object."""

import importlib
import pkgutil
from itertools import count

import pytest
import torch

import duet_p2p as sy
from duet_p2p.identity.keys import Key
from duet_p2p.objects import cards
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.scientist.requests import Request
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.messages import DefinePlan, PlanStep, StoreEntry
from duet_p2p.wire.values import Ref
from tests.hostile_kit import HOSTILE, Structure, assert_harmless_html, assert_harmless_text
from tests.unit.owner_kit import owner_on
from tests.unit.scientist_kit import pair, wait

TEXTS = list(HOSTILE.values())
SENT = [text for text in TEXTS if not any("\ud800" <= c <= "\udfff" for c in text)]
"""Those that the codec lets through; it is UTF-8."""
KEY = Key.from_seed(bytes(range(32)), "owner")
REPR_CHARS = 40_000
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


def assert_harmless(shown, plain):
    assert_harmless_html(shown._repr_html_(), plain._repr_html_(), most=120_000)
    assert_harmless_text(repr(shown))
    assert len(repr(shown)) < REPR_CHARS


# the owner looks at what a scientist wrote


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    """Two owners after the same session: one scientist wrote hostile texts, the other a word."""
    bridges, made = [], []
    for texts in (SENT, ["word"] * len(SENT)):
        bridges.append(Bridge("owner of texts"))
        path = tmp_path_factory.mktemp("audit") / "audit.sqlite"
        made.append(owner_on(bridges[-1], audit=AuditLog(AuditFile(path), KEY)))
        write_everywhere(*made[-1], texts)
    yield made
    for (duet, _), bridge in zip(made, bridges, strict=True):
        duet.close()
        bridge.close()


def write_everywhere(duet, scientist, texts):
    duet.send(torch.arange(20.0), tags=["ages"])
    scientist.op("torch.Tensor.mean", 1, Ref(-1))
    ids = count(2)
    for number, text in enumerate(texts):
        scientist.send(wire.Put((next(ids),), (5,), None, (text, "own"), text, True))
        step = PlanStep("torch.Tensor.add", (2,), (Ref(1), 1), {}, "g")
        noted = (None, (text, "plan"), text, True)
        scientist.send(DefinePlan(next(ids), text, 1, (), (step,), (2,), True, *noted))
        duet.requests.add_handler(action="deny", name=f"{text}{number}", tags=[text, str(number)])
        scientist.send(wire.Note(1, (text,), text, True))
        scientist.request(1, text, text)
        scientist.op(text[:100], next(ids), Ref(-1))
    scientist.wait_for(lambda: len(duet.requests) == len(texts))
    for request, text in list(zip(duet.requests.requests, texts, strict=True))[::3]:
        request.deny(text)


def both(owners, look):
    (hostile, _), (plain, _) = owners
    return zip(look(hostile), look(plain), strict=True)


LISTS = {
    "duet": lambda duet: [duet],
    "store": lambda duet: [duet.store],
    "shared objects": lambda duet: duet.store,
    "requests": lambda duet: [duet.requests],
    "waiting": lambda duet: duet.requests,
    "decided": lambda duet: duet.requests.history,
    "handlers": lambda duet: [duet.requests.handlers],
    "each handler": lambda duet: duet.requests.handlers,
    "plans": lambda duet: [duet.plans],
    "each plan": lambda duet: duet.plans,
    "audit": lambda duet: [duet.audit],
    "data": lambda duet: [duet.data],
}


@pytest.mark.parametrize("view", LISTS)
def test_an_owner_sees_a_scientists_texts_as_texts(owners, view):
    seen = 0
    for shown, plain in both(owners, LISTS[view]):
        assert_harmless(shown, plain)
        seen += 1
    assert seen == 1 or seen >= len(SENT[::3])


TABLES = {
    "requests": lambda duet: duet.requests.pandas,
    "store": lambda duet: duet.store.pandas,
    "handlers": lambda duet: duet.requests.handlers.pandas,
    "audit": lambda duet: duet.audit.pandas,
}
MADE_OF_IT = {
    "all of it": lambda table: table,
    "some rows": lambda table: table[:10],
    "some columns": lambda table: table[list(table.columns[:4])],
    "sorted": lambda table: table.sort_values(table.columns[0], key=lambda texts: texts.map(str)),
    "by its words": lambda table: table.set_index(
        next(name for name in table.columns if name in ("Name", "Description", "name", "Kind"))
    ),
    "turned": lambda table: table.T,
}


@pytest.mark.parametrize("made", MADE_OF_IT)
@pytest.mark.parametrize("view", TABLES)
def test_a_table_of_texts_shows_texts(owners, view, made):
    """pandas leaves two doors open: TeX in a notebook, and `style`, which escapes nothing."""
    (duet, _), _ = owners
    table = MADE_OF_IT[made](TABLES[view](duet))
    assert_no_markup(table._repr_html_())
    assert_no_markup(table.style.to_html())
    assert_no_markup(table.style.hide(axis="index").to_html())


def assert_no_markup(page):
    found = Structure(page)
    assert not found.open
    assert {tag for tag, _ in found.elements} <= {*TABLE, "div", "style", "p"}
    ((_, attributes),) = [element for element in found.elements if element[0] == "table"]
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set(dict(attributes)["class"].split())
    assert_harmless_text(page)


def test_what_an_owner_prints_is_text(owners):
    """An unknown name is in `duet.errors`, a tag in a table: escapes would move the cursor."""
    (duet, _), _ = owners
    assert len({str(failure) for failure in duet.errors}) >= len(SENT)
    waiting = list(duet.requests)
    for shown in (*duet.errors, *waiting, *duet.requests.explain(waiting[0])):
        assert_harmless_text(str(shown))
    for table in (duet.requests.pandas, duet.store.pandas):
        assert_harmless_text(table.to_string())


def test_an_owners_looking_sends_nothing(owners):
    for duet, scientist in owners:
        before = len(scientist.session.posted)
        for look in LISTS.values():
            for shown in look(duet):
                shown._repr_html_(), repr(shown)
        assert len(scientist.session.posted) == before


def test_a_listing_is_one_snapshot_in_both_forms(owners):
    duet, _ = owners[1]
    bundle = duet.requests._repr_mimebundle_()
    assert bundle == {"text/plain": repr(duet.requests), "text/html": duet.requests._repr_html_()}


# the scientist looks at what an owner wrote


@pytest.fixture(scope="module")
def scientists():
    """Two scientists whose owners share one object for each text; the texts are its notes."""
    with pair(wait) as hostile, pair(wait) as plain:
        for made, texts in ((hostile, TEXTS), (plain, ["word"] * len(TEXTS))):
            entries = [
                StoreEntry(
                    -n, "torch.Tensor", (text, text), text, (2,), "float32", None, False, None
                )
                for n, text in enumerate(texts, 1)
            ]
            made.duet._client.store.change(entries, ())  # the codec would refuse a surrogate
            for pointer, text in zip(made.duet.store, texts, strict=True):
                made.duet.requests._open[pointer._id] = Written(pointer, text)
        yield hostile.duet, plain.duet


class Written(Request):
    """A request that was not sent: the engine of this test has no such object."""

    def __init__(self, pointer, text):
        pointer._client.flush()
        self.name, self.request_description, self.timeout_secs = text, text, -1
        self.object_tags, self.object_type = pointer.tags, pointer.object_type
        self._object_id, self._client, self._closed_as = pointer._id, pointer._client, None
        self._call, self._answer = pointer._client.open_call()
        pointer._extra().request = self


MINE = {
    "duet": lambda duet: [duet],
    "store": lambda duet: [duet.store],
    "pointers": lambda duet: duet.store,
    "requests": lambda duet: [duet.requests],
    "each request": lambda duet: duet.requests,
}


@pytest.mark.parametrize("view", MINE)
def test_a_scientist_sees_an_owners_texts_as_texts(scientists, view):
    seen = 0
    for shown, plain in both([(duet, None) for duet in scientists], MINE[view]):
        assert_harmless(shown, plain)
        seen += 1
    assert seen in (1, len(TEXTS))


def test_a_scientists_looking_sends_nothing():
    with pair(wait) as made:
        pointer = made.share(torch.arange(6.0), "ages") * 2
        hidden = pointer[pointer > 3]
        request = hidden.sum().request(name="loss", reason="why")
        before = len(made.owner.commands)
        for shown in (made.duet, made.duet.store, pointer, hidden, request, made.duet.requests):
            assert "<table>" in shown._repr_html_() and repr(shown)
        assert len(made.owner.commands) == before


def test_a_plan_is_shown_with_its_own_texts():
    def build(text):
        @sy.make_plan
        def double(x=torch.ones(2)):  # noqa: B008
            return x * 2

        double.name = text
        return double.tag(text).describe(text)

    for text in TEXTS:
        assert_harmless_html(build(text)._repr_html_(), build("word")._repr_html_())


def test_each_class_that_shows_itself_is_looked_at_here(owners, scientists):
    """One that is made later is not forgotten."""
    names = [module.name for module in pkgutil.walk_packages(sy.__path__, "duet_p2p.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {
        kind.__name__
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__
        if "_repr_html_" in vars(kind)
    }
    looked_at = {type(shown) for look in LISTS.values() for shown in look(owners[0][0])}
    looked_at |= {type(shown) for look in MINE.values() for shown in look(scientists[0])}
    bases = {base.__name__ for kind in looked_at for base in kind.__mro__}
    assert found - bases == {"Frame", "Plan"}  # which have tests of their own


# the building blocks


@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_a_field_is_short_text(text):
    assert_harmless_text(cards.shown(text), lines=False)
    assert len(cards.shown(text)) <= 200
    page = cards.card(text, {text: text}, state=text, code=text)
    assert_harmless_html(page, cards.card("x", {"x": "x"}, state="x", code="x"))
    page = cards.table(text, (text,), [(text,), ([text, text],)])
    assert_harmless_html(page, cards.table("x", ("x",), [("x",), (["x"],)]))
    assert_harmless_text(cards.lines([(text, text)], empty=""))


def test_a_long_table_ends_at_its_limit():
    rows = [(n,) for n in range(51)]
    assert cards.table("t", ("n",), rows[:50]).count("<tr>") == 51
    assert "… 1 more" in cards.table("t", ("n",), rows)
    assert cards.lines(rows, empty="").splitlines()[-1] == "… 1 more"
    assert "… " not in cards.lines(rows[:50], empty="")


def test_a_field_is_cut_at_its_limit():
    assert cards.shown("w" * 200) == "w" * 200
    assert cards.shown("w" * 201) == "w" * 199 + "…"
