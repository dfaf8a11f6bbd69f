"""A page behind a network that lets nothing through but TURN: coturn, credentials of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.owner_kit import Owner, signalling_server
from tests.browser.page_kit import page_server
from tests.browser.turn_kit import ONLY_RELAYED, coturn
from tests.browser.visit_kit import SHARE, Visit, accept, visit

pytestmark = pytest.mark.slow  # a relay, a server and a browser of their own
SECRET = "of the test"


@pytest.fixture(scope="module")
def turn(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with coturn(tmp_path_factory.mktemp("turn"), SECRET) as url:
        yield url


@pytest.fixture(params=["the relay's secret", "another secret"])
def signalling(turn: str, request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    is_right = request.param == "the relay's secret"
    monkeypatch.setenv("DUET_SIG_TURN_SECRET", SECRET if is_right else "changed since")
    with signalling_server("--turn-url", turn) as url:
        yield url


@pytest.fixture
def visitor(chromium: Any, owner: Owner, signalling: str) -> Iterator[Visit]:
    with page_server(signalling=signalling) as url, visit(chromium, url) as made:
        made.page.add_init_script(ONLY_RELAYED)
        session_id = owner.launch(signalling, share=SHARE)
        made.open(f"#{session_id}")
        made.page.click("#connect")
        made.page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
        owner.expect(made.client_id)
        yield made
        owner.run("duet.close()")


@pytest.mark.parametrize("signalling", ["the relay's secret"], indirect=True)
def test_a_relayed_session_is_verified_and_says_that_it_is_relayed(
    visitor: Visit, owner: Owner
) -> None:
    visitor.in_workbench(owner)
    visitor.page.locator("#badge", has_text="Verified · relayed").wait_for()
    assert owner.run("duet.status()['path'].kind") == "relayed"
    visitor.run("m = ages.float().mean()")
    visitor.ask("m")
    accept(owner)
    visitor.state_of("m", "Released")
    assert visitor.chip("m").locator(".value").inner_text() == "46.8333"


@pytest.mark.parametrize("signalling", ["another secret"], indirect=True)
def test_a_relay_that_refuses_its_credentials_is_named(visitor: Visit) -> None:
    told = visitor.page.get_by_text("The TURN server gave no relay address", exact=False)
    told.first.wait_for(timeout=60_000)
