import pytest

from duet_p2p.errors import InvalidId
from duet_p2p.identity.keys import Key
from duet_p2p.invitation import Invitation
from duet_p2p.prompts import Prompts

OWNER = Key.fresh("owner").id
CLIENT = Key.fresh("scientist").id
OTHER = Key.fresh("scientist").id


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DUET_CLIENT_ID", "DUET_CLIENT_ID_FILE"):
        monkeypatch.delenv(name, raising=False)


class Typed(Prompts):
    """The person at the keyboard, and how often they were asked."""

    def __init__(self) -> None:
        super().__init__(is_on=False)
        self.asked = 0

    def ask_client(self, own_id: str) -> str:
        self.asked += 1
        return OTHER


class Exchanger:
    def __init__(self) -> None:
        self.ran = 0

    def run(self, credential: str) -> str:
        self.ran += 1
        return CLIENT


def test_an_id_in_the_argument_is_named_at_once() -> None:
    invitation = Invitation([CLIENT, OTHER], Exchanger(), OWNER, is_needed=True)
    assert invitation.clients == [CLIENT, OTHER]
    assert not invitation.is_open


def test_a_wrong_id_is_refused_before_anything_starts() -> None:
    with pytest.raises(InvalidId):
        Invitation("nobody", None, OWNER, is_needed=True)


def test_a_users_code_runs_when_it_is_asked_and_not_before() -> None:
    called: list[str] = []
    exchanger, typed = Exchanger(), Typed()
    for given in (lambda own_id: called.append(own_id) or CLIENT, None):
        invitation = Invitation(given, exchanger, OWNER, is_needed=True)
        assert invitation.is_open and not exchanger.ran
        assert given is None or not called
        assert invitation.ask(typed, may_ask=False) == [CLIENT]
        assert not invitation.is_open
    assert (called, exchanger.ran, typed.asked) == ([OWNER], 1, 0)


def test_a_name_in_the_environment_goes_before_the_prompt_but_not_before_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUET_CLIENT_ID", OTHER)
    assert Invitation(None, None, OWNER, is_needed=True).clients == [OTHER]
    assert Invitation(None, Exchanger(), OWNER, is_needed=True).is_open


def test_an_id_is_typed_only_where_somebody_waits() -> None:
    typed = Typed()
    invitation = Invitation(None, None, OWNER, is_needed=True)
    assert invitation.ask(typed, may_ask=False) == []
    assert invitation.is_open and not typed.asked
    assert invitation.ask(typed, may_ask=True) == [OTHER]


def test_over_loopback_nobody_is_named() -> None:
    invitation = Invitation(CLIENT, None, OWNER, is_needed=False)
    assert not invitation.clients and not invitation.is_open
