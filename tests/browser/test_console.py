"""The owner's console in Chromium: a real owner's process, a real scientist's, a real browser."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.console_kit import Console, Partners, chromium, eventually, shoot
from tests.browser.page_kit import too_small

pytestmark = pytest.mark.browser

SECONDS = 60_000
ROOT = Path(__file__).resolve().parents[2]

HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>\\x1b[31m\\u202etxt.exe\\u2066"
    " \\u05e9\\u05dc\\u05d5\\u05dd "
)

expect.set_options(timeout=SECONDS)


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def partners(tmp_path_factory, browser):
    both = Partners(tmp_path_factory.mktemp("console"))
    both.owner(
        "ages = torch.arange(64.).tag('ages', 'ward 3')"
        ".describe('ages of 64 patients, in years').send(duet)\n"
        "vitals = torch.randn(64, 3).tag('vitals').describe('pulse, pressure, temperature')"
        ".send(duet)"
    )
    both.scientist(
        "end = time.monotonic() + 60\n"
        "while len(duet.store) < 2 and time.monotonic() < end: time.sleep(0.01)\n"
        "ages, vitals = duet.store['ages'], duet.store['vitals']"
    )
    yield both
    both.close()


@pytest.fixture
def console(browser, partners):
    opened = Console(browser, partners)
    yield opened
    opened.close()
    # what somebody left waiting is none of the next test's business
    partners.owner(
        "if duet.is_open:\n"
        "    duet.requests.clear_handlers()\n"
        "    for r in duet.requests: r.deny('over')"
    )
    assert opened.trouble == [], "errors, warnings or violations of the content policy"


def card(page, name):
    return page.locator(".card").filter(has=page.locator(".name", has_text=re.compile(f"^{name}$")))


def armed(page, name):
    """The card of a request, open and past the time in which it cannot be clicked."""
    found = card(page, name)
    expect(found).to_be_visible()
    if not found.get_by_role("button", name="Accept", exact=True).is_visible():
        found.locator(".summary").click()
    page.wait_for_timeout(600)
    return found


def answered(partners, name="asked"):
    return partners.told("scientist", f"{name}.status.value")


# decisions


def test_a_request_is_accepted_while_the_kernel_is_busy(console, partners, tmp_path):
    page = console.open()
    with partners.busy("owner"):
        partners.scientist(
            "mean = ages.mean()\nasked = mean.request(name='mean age', reason='for table 1')"
        )
        found = armed(page, "mean age")
        expect(found).to_contain_text("1 number computed over at least 64 records of “ages”.")
        expect(found).to_contain_text("for table 1")
        expect(found.locator("pre").first).to_contain_text("store['ages'].mean()")
        shoot(page, "request", tmp_path)
        found.get_by_role("button", name="Accept", exact=True).click()
        expect(found).to_have_count(0)
        told = partners.told("scientist", "asked.wait(60).value, mean.get().item()")
        assert told == "Accepted 31.5"


def test_a_denial_and_its_reason_arrive(console, partners):
    page = console.open()
    partners.scientist("one = ages[3]\nasked = one.request(name='one patient')")
    found = armed(page, "one patient")
    expect(found).to_contain_text("Raw data: 1 number copied from “ages”.")
    found.get_by_role("button", name="Deny…").click()
    found.get_by_label("Reason").fill("single patients do not leave")
    found.get_by_role("button", name="Deny", exact=True).click()
    expect(found).to_have_count(0)
    partners.scientist(
        "asked.wait(60)\ntry: one.get()\nexcept sy.errors.RequestDenied as error: said = str(error)"
    )
    assert "single patients do not leave" in partners.told("scientist", "said")
    expect(page.locator("#decided")).to_contain_text("single patients do not leave")


def test_a_model_says_how_it_was_trained_and_what_it_can_contain(console, partners):
    page = console.open()
    partners.scientist(
        "model = torch.nn.Linear(3, 1).send(duet)\n"
        "opt = duet.torch.optim.SGD(model.parameters(), lr=0.01)\n"
        "for _ in range(3):\n"
        "    opt.zero_grad()\n"
        "    loss = (model(vitals) ** 2).mean()\n"
        "    loss.backward()\n"
        "    opt.step()\n"
        "asked = model.weight.request(name='weights')"
    )
    found = armed(page, "weights")
    expect(found).to_contain_text("A trained model: 3 numbers learned from “vitals”.")
    expect(found.locator("[data-part=summary]")).not_to_be_empty()
    training = found.locator("[data-part=training]")
    expect(training).to_have_text(
        [
            "trained in 3 steps of SGD",
            "batches of 64 records",
            "learning rate 0.01",
            "first weights: chosen by the scientist, uploaded",
        ]
    )
    expect(found).to_contain_text("The weights can contain exact records all the same.")
    expect(found.locator("[data-part=rows]")).to_have_text("which records: cannot be told")


def test_a_rule_made_in_the_editor_takes_the_next_request(console, partners, tmp_path):
    page = console.open()
    partners.scientist("asked = (ages * 2).mean().request(name='twice')")
    found = armed(page, "twice")
    found.get_by_role("button", name="Make a rule…").click()
    editor = page.get_by_role("dialog", name="A rule from this request")
    expect(editor).to_contain_text("Accepts requests named “twice”.")
    expect(editor).to_contain_text("One that denies: whatever depends on one of them.")
    expect(editor).to_contain_text("Of what waits now, it decides at once: “twice”.")
    editor.get_by_label("Numbers in each, at most").fill("x")
    expect(editor).to_contain_text("a whole number")
    expect(editor.get_by_role("button", name="Add this rule")).to_be_disabled()
    editor.get_by_label("Numbers in each, at most").fill("1")
    expect(editor.get_by_role("button", name="Add this rule")).to_be_enabled()
    shoot(page, "editor", tmp_path)
    editor.get_by_role("button", name="Add this rule").click()
    expect(page.locator("#rules")).to_contain_text("Accepts requests named “twice”.")
    expect(found).to_have_count(0)
    partners.scientist("asked = (ages * 2).mean().request(name='twice', reason='again')")
    assert partners.told("scientist", "asked.wait(60)").endswith("Accepted")
    expect(page.locator("#rules")).to_contain_text("used 2 times")
    page.wait_for_timeout(600)  # the rule may be that new
    page.get_by_role("button", name="Remove the rule").click()
    expect(page.locator("#no-rules")).to_be_visible()


def test_a_rule_without_dropout_leaves_what_one_fell_on(console, partners, tmp_path):
    page = console.open()
    partners.scientist(
        "dropped = duet.torch.nn.functional.dropout(ages, 0.25)\n"
        "asked = dropped.mean().request(name='thinned')"
    )
    found = armed(page, "thinned")
    expect(found).to_contain_text("the masks of a dropout, by the scientist’s seed.")
    found.get_by_role("button", name="Make a rule…").click()
    editor = page.get_by_role("dialog", name="A rule from this request")
    editor.get_by_text("More conditions").click()
    editor.get_by_label("also where a dropout fell on the records").uncheck()
    expect(editor).to_contain_text("Not if a dropout fell on the records")
    shoot(page, "dropout", tmp_path)
    editor.get_by_role("button", name="Add this rule").click()
    expect(page.locator("#rules")).to_contain_text("Not if a dropout fell on the records")
    partners.scientist("asked = ages.mean().request(name='thinned', reason='whole')")
    assert partners.told("scientist", "asked.wait(60)").endswith("Accepted")
    expect(found).to_contain_text("allow_dropout is False")


def test_accept_always_binds_the_recipe(console, partners):
    page = console.open()
    partners.scientist("asked = (ages + 1).mean().request(name='plus one')")
    found = armed(page, "plus one")
    found.get_by_role("button", name="Accept always…").click()
    found.get_by_role("button", name="Accept always", exact=True).click()
    expect(page.locator("#rules")).to_contain_text("Accepts requests of any name.")
    partners.scientist("asked = (ages + 1).mean().request(name='other name')")
    assert partners.told("scientist", "asked.wait(60)").endswith("Accepted")
    partners.scientist("asked = ages[0].request(name='never always')")
    never = armed(page, "never always")
    expect(never.get_by_role("button", name="Accept always…")).to_be_disabled()


def test_an_open_session_is_said_clearly_until_its_rule_is_removed(console, partners, tmp_path):
    page = console.open()
    page.get_by_role("button", name="New rule…").click()
    editor = page.get_by_role("dialog", name="A new rule")
    expect(editor.locator(".warning")).to_contain_text("OPEN: any value, your raw data included")
    editor.get_by_role("button", name="Add this rule").click()
    expect(
        page.get_by_role("alert").filter(has_text="OPEN: a rule accepts everything")
    ).to_be_visible()
    shoot(page, "open", tmp_path)
    page.wait_for_timeout(600)
    page.get_by_role("button", name="Remove the rule").click()
    expect(page.locator(".banner")).to_have_count(0)


def test_the_owner_can_look_at_the_value_first(console, partners):
    page = console.open()
    partners.scientist("asked = (ages * 0 + 41.25).mean().request(name='peek')")
    found = armed(page, "peek")
    found.get_by_role("button", name="Show me the value").click()
    expect(found.get_by_label("The value")).to_contain_text("41.25")
    assert answered(partners) == "Pending"


# keys, focus, clicks that come too early


def test_everything_works_by_keyboard(console, partners):
    page = console.open()
    partners.scientist(
        "first = ages.sum().request(name='first')\nsecond = ages.std().request(name='second')"
    )
    expect(page.locator(".card")).to_have_count(2)
    expect(page).to_have_title("(2) Duet")
    page.wait_for_timeout(600)
    page.keyboard.press("j")
    expect(card(page, "second").locator(".summary")).to_be_focused()
    page.keyboard.press("k")
    expect(card(page, "first").locator(".summary")).to_be_focused()
    page.keyboard.press("a")
    expect(card(page, "first")).to_have_count(0)
    expect(page).to_have_title("(1) Duet")
    expect(card(page, "second").locator(".summary")).to_be_focused()
    page.wait_for_timeout(600)
    page.keyboard.press("d")
    page.keyboard.type("a and d are letters here")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    expect(page).to_have_title("Duet")
    told = partners.told("scientist", "first.wait(60).value, second.wait(60).value")
    assert told == "Accepted Rejected"
    expect(page.locator("#decided")).to_contain_text("a and d are letters here")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_a_click_right_after_a_row_changed_decides_nothing(console, partners):
    page = console.open()
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 60_000"))
    partners.scientist("one = ages.min().request(name='one')\ntwo = ages.max().request(name='two')")
    expect(page.locator(".card")).to_have_count(2)
    accept = card(page, "one").get_by_role("button", name="Accept", exact=True)
    page.clock.run_for(499)
    accept.click()
    page.keyboard.press("a")
    assert answered(partners, "one") == "Pending"
    page.clock.run_for(1)
    partners.scientist("one.deny()")
    expect(card(page, "one")).to_have_count(0)
    # the second moved to where the first was, with its buttons under the pointer
    page.keyboard.press("a")
    card(page, "two").get_by_role("button", name="Accept", exact=True).click()
    page.clock.run_for(499)
    card(page, "two").get_by_role("button", name="Accept", exact=True).click()
    assert answered(partners, "two") == "Pending"
    page.clock.run_for(1)
    card(page, "two").get_by_role("button", name="Accept", exact=True).click()
    expect(page.locator(".card")).to_have_count(0)
    assert partners.told("scientist", "two.wait(60).value") == "Accepted"


def test_focus_and_what_was_typed_stay_when_rows_move(console, partners):
    page = console.open()
    partners.scientist(
        "\n".join(f"r{i} = (ages + {i}).sum().request(name='row {i}')" for i in range(4))
    )
    expect(page.locator(".card")).to_have_count(4)
    found = armed(page, "row 2")
    found.get_by_role("button", name="Deny…").click()
    reason = found.get_by_label("Reason")
    reason.fill("half a sen")
    partners.scientist("r0.deny()\nr4 = ages.norm().request(name='row 4')\nr3.deny()")
    expect(card(page, "row 0")).to_have_count(0)
    expect(card(page, "row 3")).to_have_count(0)
    expect(card(page, "row 4")).to_be_visible()
    expect(reason).to_be_focused()
    expect(reason).to_have_value("half a sen")
    partners.scientist("r2.deny()")
    expect(found).to_have_count(0)
    expect(page.locator(".card.selected .summary")).to_be_focused()


# the scientist's words


def test_hostile_names_are_text(console, partners, tmp_path):
    page = console.open()
    page.on("dialog", lambda dialog: console.trouble.append(f"dialog {dialog.message}"))
    partners.scientist(
        f"hostile = '{HOSTILE}'\n"
        "asked = ages.mean().request(name=hostile + 'x' * 10_000, reason=hostile * 300)\n"
        "mine = torch.ones(2).tag('<b>tag</b>\\u202e').describe(hostile).send(duet)"
    )
    found = page.locator(".card")
    expect(found).to_have_count(1)
    expect(found.locator("img, script, b")).to_have_count(0)
    name = found.locator(".name").inner_text()
    assert name.startswith("<img src=x onerror=alert(1)><script>")
    assert len(name) <= 100
    text = page.locator("body").inner_text()
    assert not re.search("[\\u202a-\\u202e\\u2066-\\u2069\\x1b]", text)
    expect(page.locator("#objects")).to_contain_text("<b>tag</b>")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"hostile-{width}", tmp_path)
    partners.scientist("mine.delete()")


# how it looks and who can read it


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        pytest.param(1440, "light", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
    ],
)
def test_the_page_is_accessible_and_fits(browser, partners, tmp_path, scheme, width):
    opened = Console(
        browser,
        partners,
        viewport={"width": width, "height": 960},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = opened.open()
    partners.owner("duet.requests.add_handler('deny', name='loss')")
    partners.owner("duet.requests.add_handler('accept', name='acc', max_uses=10, element_quota=99)")
    partners.scientist(
        "a = ages.mean().request(name='mean age', reason='for table 1 of the paper')\n"
        "b = ages[3].request(name='acc', reason='debugging')\n"
        "c = (ages * torch.ones(64)).sum().request(name='weighted', reason='a robust estimate')"
    )
    expect(page.locator(".card")).to_have_count(3)
    states = {
        "requests": lambda: None,
        "details": lambda: (page.keyboard.press("j"), page.locator(".selected summary").click()),
        "help": lambda: page.keyboard.press("?"),
        "editor": lambda: (page.keyboard.press("Escape"), page.keyboard.press("r")),
        "audit": lambda: (page.keyboard.press("Escape"), page.locator("#tab-audit").click()),
    }
    for state, enter in states.items():
        enter()
        page.wait_for_timeout(300)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        assert width > 560 or too_small(page) == [], state
        shoot(page, f"{state}-{scheme}-{width}", tmp_path)
    partners.owner("duet.requests.clear_handlers()\nfor r in duet.requests: r.deny()")
    assert opened.trouble == []
    opened.close()


# the log


def test_the_log_can_be_searched_and_exported(console, partners):
    page = console.open()
    partners.scientist("asked = ages.mean().request(name='needle_1', reason='in the haystack')")
    armed(page, "needle_1")
    page.get_by_role("button", name="Audit log").click()
    page.get_by_label("Search").fill("needle_1")
    expect(page.locator(".audit-row")).to_have_count(1)
    expect(page.locator(".audit-row")).to_contain_text("name: needle_1 · reason: in the haystack")
    page.get_by_label("Search").fill("needle%1")
    expect(page.locator("#audit-note")).to_have_text("No row fits.")
    page.get_by_label("Search").fill("needle_1")
    expect(page.locator(".audit-row")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export these rows").click()
    (line,) = Path(download.value.path()).read_text().splitlines()
    row = json.loads(line)
    assert json.loads(row["facts"])["name"] == "needle_1"
    assert len(bytes.fromhex(row["hash"])) == 32


# ways in


def test_the_way_in_is_used_up_and_a_reload_keeps_it(console, partners):
    partners.owner("way = duet.console(open_browser=False)")
    path = partners.told("owner", "way.path")
    url = partners.told("owner", "way.url")
    page = console.page
    page.goto(Path(path).as_uri())
    page.wait_for_selector('#badge[data-state="open"]')
    assert page.evaluate("location.href") == url.partition("#")[0]
    assert not Path(path).exists()
    page.reload()
    page.wait_for_selector('#badge[data-state="open"]')
    other = console.context.new_page()
    other.goto(url)
    expect(other.get_by_role("alert")).to_contain_text("used before or is too old")
    expect(other.locator(".card")).to_have_count(0)
    other.close()
    expect(page.locator("#badge")).to_have_attribute("data-state", "open")


@pytest.mark.slow
def test_the_command_of_the_same_user_opens_it(console, partners):
    opened = subprocess.run(
        [sys.executable, "-m", "duet_p2p.cli", "console", "--no-browser"],
        env={"PYTHONPATH": str(ROOT), "DUET_HOME": str(partners.home / "duet"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert opened.returncode == 0, opened.stderr
    path = opened.stdout.strip().rpartition(": ")[2]
    console.page.goto(Path(path).as_uri())
    expect(console.page.locator("#badge")).to_have_attribute("data-state", "open")


def test_another_page_of_the_browser_gets_nothing(browser, console, partners):
    page = console.open()
    port = page.evaluate("location.port")
    context = browser.new_context()
    stranger = context.new_page()
    for name in ("rebound.example", "localhost"):
        answer = stranger.goto(f"http://{name}:{port}/")
        assert answer is not None
        assert answer.status == 403
        ended = stranger.evaluate(
            """(address) => new Promise((resolve) => {
                const socket = new WebSocket(address);
                socket.onopen = () => resolve('open');
                socket.onerror = () => resolve('refused');
            })""",
            f"ws://127.0.0.1:{port}/socket",
        )
        assert ended == "refused"
    context.close()


# ends; the last test, because the session is over after it


def test_every_page_is_told_that_the_session_is_closed(console, partners, tmp_path):
    first = console.open()
    second = console.another()
    partners.scientist("asked = ages.mean().request(name='too late')")
    expect(card(first, "too late")).to_be_visible()
    partners.start("owner", "duet.close()")
    for page in (first, second):
        expect(page.get_by_role("alert")).to_contain_text("closed")
        expect(page.locator("#badge")).to_have_text("Session over")
        expect(page.locator(".card")).to_have_count(0)
    shoot(first, "closed", tmp_path)
    partners.finish("owner")
    eventually(lambda: not list((partners.home / "duet" / "console").iterdir()), "files are left")
