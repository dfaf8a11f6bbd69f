"""What a rule will do, in words, is what the policy then does."""

from dataclasses import replace

import msgspec

from duet_p2p.console.messages import Rule
from duet_p2p.console.rules import handler_of, meaning_of
from duet_p2p.owner.handlers import KINDS
from tests.unit.console_kit import stage
from tests.unit.owner_kit import LOSS, RAW

__all__ = ["stage"]


def rule(action="accept", **fields):
    return msgspec.convert({"action": action, **fields}, Rule)


def words(stage, draft):
    meaning = meaning_of(
        handler_of(draft, stage.desk), min_records=10, source_name=lambda source: f"data{source}"
    )
    return " ".join(meaning.lines), " ".join(meaning.warnings)


async def test_a_rule_by_name_says_what_the_guard_does(stage):
    lines, warnings = words(stage, rule(name=" Loss "))
    assert "named “loss”" in lines
    assert "At most 1 number" in lines
    assert "at least 10 records" in lines
    assert "public values, facts about sizes and types or aggregates over records" in lines
    assert "Not if something public met the data" in lines
    assert "the scientist's own words" in warnings
    assert "single records" not in warnings


async def test_an_accept_all_rule_is_open(stage):
    lines, warnings = words(stage, rule())
    assert lines == "Accepts every request, without asking you."
    assert warnings.startswith("OPEN: any value, your raw data included")


async def test_what_is_widened_is_said_and_warned_of(stage):
    lines, warnings = words(
        stage, rule(name="model_download", kinds=["model"], max_elements=None, max_uses=2)
    )
    assert "Only trained models" in lines
    assert "Any count of numbers" in lines
    assert "2 times at most" in lines
    assert "A trained model can contain exact records" in warnings
    _, warnings = words(stage, rule(kinds=["verbatim"], max_elements=5))
    assert "single records and raw data" in warnings


async def test_every_condition_has_its_words(stage):
    lines, _ = words(
        stage,
        rule(
            tags=["b", "a"],
            min_records=20,
            sources=[-2, -1],
            allow_injected=True,
            allow_dropout=False,
            element_quota=1000,
            seconds=60,
            seen_only=True,
            print_local=True,
            log_local=True,
        ),
    )
    for said in (
        "exactly the tags “a”, “b”",
        "at least 20 records",
        "nothing but “data-2”, “data-1”",
        "Also if something public met",
        "Not if a dropout fell on the records",
        "1,000 numbers in all",
        "ends after 60 seconds",
        "earlier decision that you made by hand",
        "on your screen or in your log",
    ):
        assert said in lines, said


async def test_a_rule_on_facts_says_what_a_mask_can_do(stage):
    lines, warnings = words(stage, rule(kinds=["aggregate"]))
    assert "can leave one record" in warnings and "injected" not in lines
    lines, warnings = words(stage, rule(kinds=["aggregate"], min_records=20))
    assert "Not if something public met the data" in lines and warnings == ""
    lines, warnings = words(stage, rule(min_records=20, allow_injected=True, kinds=["aggregate"]))
    assert "Also if something public met" in lines and "can leave one record" in warnings
    assert "can leave one record" not in words(stage, rule(name="loss"))[1]


async def test_a_deny_rule_by_size_says_that_it_takes_private_sizes(stage):
    lines, _ = words(stage, rule("deny", max_elements=3))
    assert "each release. That is also what private values may have made so small." in lines
    assert "private values" not in words(stage, rule(max_elements=3))[0]


async def test_a_deny_rule_says_that_it_goes_first(stage):
    lines, warnings = words(stage, rule("deny", name="loss"))
    assert lines.startswith("Denies requests named “loss”.")
    assert "before every accept rule" in lines
    assert "under another name" in lines
    assert warnings == ""


async def test_a_rule_like_a_request_binds_it(stage):
    stage.ask(call=0xAB)
    like = "00000000000000ab"
    handler = handler_of(rule(like=like), stage.desk)
    assert handler.conditions.binding is not None
    assert handler_of(rule("deny", like=like), stage.desk).conditions.recipe == "loss.item()"
    lines, _ = words(stage, rule(like=like))
    assert "the computation that you saw" in lines


async def test_no_words_for_a_rule_are_the_words_of_another(stage):
    stage.ask(call=0xAB)
    drafts = [
        rule(),
        rule("deny"),
        rule(name="a"),
        rule(name="b"),
        rule(name="a", max_elements=2),
        rule(name="a", max_elements=None),
        rule(name="a", min_records=11),
        rule(name="a", sources=[-1]),
        rule(name="a", sources=[-2]),
        rule(name="a", allow_injected=True),
        rule(name="a", allow_dropout=False),
        rule(name="a", max_uses=1),
        rule(name="a", element_quota=1),
        rule(name="a", seconds=1),
        rule(name="a", seen_only=True),
        rule(name="a", print_local=True),
        rule(name="a", log_local=True),
        rule(name="a", like="00000000000000ab"),
        rule(tags=[]),
        rule(tags=["a"]),
        *(rule(kinds=[kind]) for kind in KINDS),
    ]
    assert len({words(stage, draft) for draft in drafts}) == len(drafts)


# on the page


async def test_what_a_rule_takes_is_shown_before_it_is_added(stage):
    page = await stage.page()
    stage.ask(call=1, name="loss")
    stage.ask(call=2, object_id=2, name="loss", facts=RAW)
    await page.until(lambda: len(page.requests()) == 2)
    told = await page.ask("preview", rule={"action": "accept", "name": "loss"})
    assert told["takes"] == [f"{1:016x}"]
    assert not told["replaces"]
    assert stage.desk.policy.handlers() == ()
    added = await page.ask("add", rule={"action": "accept", "name": "loss"}, digest=told["digest"])
    assert added["ok"]
    assert stage.desk.book.find(1).status == "Accepted"
    assert stage.desk.book.find(2).is_pending
    assert (await page.ask("preview", rule={"action": "deny", "name": "loss"}))["replaces"]


async def test_a_rule_that_means_something_else_than_was_shown_is_not_added(stage):
    page = await stage.page()
    narrow = await page.ask("preview", rule={"action": "accept", "name": "loss"})
    added = await page.ask("add", rule={"action": "accept"}, digest=narrow["digest"])
    assert not added["ok"]
    assert "Read it again" in added["text"]
    assert stage.desk.policy.handlers() == ()


async def test_a_rule_like_a_request_that_is_gone_or_cannot_be_bound_is_refused(stage):
    page = await stage.page()
    gone = await page.ask("preview", rule={"action": "accept", "like": "0" * 15 + "9"})
    assert not gone["ok"]
    stage.ask(facts=replace(LOSS, kind="per_record"))
    bound = await page.ask("preview", rule={"action": "accept", "like": f"{7:016x}"})
    assert not bound["ok"]
    assert "single record" in bound["text"]
