"""Scenario 3, ages: ask, be denied, ask again, be accepted; then an accept-all handler."""

import re

import pytest

from tests.e2e.conftest import wait_for_request, wait_for_store
from tests.e2e.notebook import CellError, Notebook

Pair = tuple[Notebook, Notebook]


@pytest.fixture(scope="module")
def ages(pair: Pair) -> Pair:
    owner, scientist = pair
    owner.run(
        """
        ages = torch.tensor([25, 32, 49, 65, 88, 22])
        ages = ages.tag("ages").describe("the ages of six people")
        ages_ptr = ages.send(duet, pointable=True)
        """
    )
    wait_for_store(scientist, 1)
    scientist.run("ages = duet.store[0]; mean = ages.float().mean()")
    return pair


def test_the_scientist_sees_the_object_and_not_its_values(ages: Pair) -> None:
    _, scientist = ages
    assert scientist.run("len(duet.store), duet.store[0].tags, tuple(ages.shape)") == [
        1,
        ["ages"],
        [6],
    ]
    assert scientist.run("duet.store.pandas['Description'][0]") == "the ages of six people"
    shown = scientist.run("print(ages); repr(ages)")
    assert not re.search(r"\b88\b", shown)


def test_nothing_comes_without_asking(ages: Pair) -> None:
    _, scientist = ages
    with pytest.raises(CellError) as failure:
        scientist.run("mean.get()")
    assert failure.value.kind == "NotReleased"


def test_a_denied_request_says_so(ages: Pair) -> None:
    owner, scientist = ages
    scientist.run("mean.request(reason='first')")
    wait_for_request(owner)
    assert owner.run("duet.requests[0].request_description") == "first"
    owner.run("duet.requests[0].deny('not today')")
    with pytest.raises(CellError, match="not today") as failure:
        scientist.run("mean.get()")
    assert failure.value.kind == "RequestDenied"
    assert owner.run("len(duet.requests.pandas)") == 0
    assert scientist.run("len(duet.requests.pandas)") == 0


def test_an_accepted_value_comes_twice(ages: Pair) -> None:
    owner, scientist = ages
    scientist.run("mean.request(reason='second')")
    wait_for_request(owner)
    facts = owner.run("r = duet.requests[0]; [r.kind, r.elements, r.min_records, r.recipe]")
    assert facts[:3] == ["aggregate", 1, 6]
    assert "mean" in facts[3]
    owner.run("duet.requests[0].accept()")
    assert scientist.run("mean.get().item()") == pytest.approx(46.8333, abs=1e-4)
    assert scientist.run("mean.get().item()") == pytest.approx(46.8333, abs=1e-4)


def test_an_accept_all_handler_gives_everything_and_says_so(ages: Pair) -> None:
    owner, scientist = ages
    owner.run("duet.requests.add_handler(action='accept')")
    assert "OPEN" in str(owner.run("duet.status()"))
    assert scientist.run("ages.float().amax().get(request_block=True, reason='max').item()") == 88
    assert scientist.run("ages.float().amin().get(request_block=True, reason='min').item()") == 22
    whole = scientist.run("ages.get(request_block=True, delete_obj=False).tolist()")
    assert whole == [25, 32, 49, 65, 88, 22]
    assert owner.run("ages_ptr.get().tolist()") == whole


def test_large_values_arrive_whole_compressed_or_not(ages: Pair) -> None:
    # whether it pays is a matter of speed: tests/unit/test_deflation.py decides it both ways
    owner, scientist = ages
    owner.run("duet.requests.add_handler(action='accept')")
    assert scientist.run(
        """
        net = nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300))
        back = net.send(duet).get(request_block=True)
        all(torch.equal(back.state_dict()[k], v) for k, v in net.state_dict().items())
        """
    )
    assert scientist.run(
        """
        found = ages.float().repeat(333_333).get(request_block=True)
        torch.equal(found, torch.tensor([25.0, 32, 49, 65, 88, 22]).repeat(333_333))
        """
    )
