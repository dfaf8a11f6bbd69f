"""The client library of the pages against a real owner, through a real signalling server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.client_kit import Client, bare_pages, pair
from tests.browser.owner_kit import Owner

SHARE = """
ages = torch.tensor([30, 40, 50, 20]).tag("ages").describe("Ages of four people.").send(duet)
weights = torch.arange(40_000.).reshape(200, 200).tag("weights").send(duet)
duet.requests.add_handler(action="accept")
"""


@pytest.fixture(scope="module")
def client(
    chromium: Any, owner: Owner, signalling: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """One page, paired once for all tests here."""
    context = chromium.new_context()
    with bare_pages(tmp_path_factory.mktemp("pages"), signalling) as url:
        made = Client(context.new_page(), url)
        pair(owner, made, signalling, SHARE, engine="process")
        made.run(
            "globalThis.shared = (tag) => session.pointer("
            "session.store.find(({tags}) => tags.includes(tag))), 0"  # a function would be called
        )
        yield made
        made.run("session.close()")
        assert made.complaints == []
        owner.run("duet.close()")
        context.close()


def test_the_store_of_the_owner_is_there_when_it_is_open(client: Client) -> None:
    [ages, weights] = client.run("session.store")
    assert (ages["tags"], ages["description"]) == (["ages"], "Ages of four people.")
    assert (ages["shape"], ages["dtype"], ages["type"]) == ([4], "int64", "torch.Tensor")
    assert weights["shape"] == [200, 200]


def test_a_page_adds_two_numbers_there_and_is_given_the_mean_of_shared_data(client: Client) -> None:
    value = client.run(
        """(async () => {
          const mean = shared('ages').call('float').call('mean').call('__add__', [1]);
          const request = mean.request({name: 'free', reason: 'The mean.'});
          const {state, value} = await request.done;
          return [state, value.dtype, value.scalar(), mean.tags];
        })()"""
    )
    assert value == ["released", "float32", 36.0, ["__add__", "ages", "float", "mean"]]


@pytest.fixture
def by_hand(owner: Owner) -> Iterator[None]:
    """Nobody but a person decides."""
    owner.run("duet.requests.clear_handlers()")
    yield
    owner.run('duet.requests.add_handler(action="accept")')


@pytest.mark.usefixtures("by_hand")
def test_the_owner_sees_a_request_and_denies_it_with_a_reason(owner: Owner, client: Client) -> None:
    client.run(
        "globalThis.asked = shared('ages').call('max')"
        ".request({name: 'oldest', reason: 'I wonder.'}), 0"
    )
    seen = owner.run(
        """
import time
deadline = time.monotonic() + 20
while not duet.requests and time.monotonic() < deadline:
    time.sleep(0.01)
request = duet.requests[0]
found = (request.name, request.reason, request.id)
request.deny("Ages of single people stay here.")
found
"""
    )
    assert tuple(seen)[:2] == ("oldest", "I wonder.")
    answer = client.run(
        "asked.done.then(({state, ownerReason, value, id}) => [state, ownerReason, value, id])"
    )
    assert answer == ["denied", "Ages of single people stay here.", None, tuple(seen)[2]]


@pytest.mark.usefixtures("by_hand")
def test_a_person_accepts_and_the_value_comes_by_itself(owner: Owner, client: Client) -> None:
    client.run(
        "globalThis.asked = shared('ages').call('sum').request({name: 'sum', reason: '?'}), 0"
    )
    owner.run(
        """
deadline = time.monotonic() + 20
while not duet.requests and time.monotonic() < deadline:
    time.sleep(0.01)
duet.requests[0].accept()
"""
    )
    assert client.run("asked.done.then(({state, value}) => [state, value.scalar()])") == [
        "released",
        140,
    ]


@pytest.mark.usefixtures("by_hand")
def test_a_request_that_nobody_decides_expires_and_one_is_taken_back(client: Client) -> None:
    states = client.run(
        """(async () => {
          const late = shared('ages').call('min').request({timeoutSeconds: 0});
          const back = shared('ages').call('min').request({name: 'back'});
          back.withdraw();
          return [(await late.done).state, (await back.done).state];
        })()"""
    )
    assert states == ["expired", "withdrawn"]


def test_a_command_that_fails_for_a_public_reason_is_told(client: Client) -> None:
    failed = client.run(
        """(async () => {
          const made = shared('ages').call('reshape', [[3, 7]]);
          const request = made.request({name: 'free'});
          await request.done;
          return [request.state, made.failed, request.ownerReason];
        })()"""
    )
    assert failed[0] == "failed"
    assert "torch.Tensor.reshape failed on the owner's side: RuntimeError" in failed[1]
    [event] = [told for told in client.told("failure") if "reshape" in told["op"]]
    assert event["text"] == failed[1]


def test_names_off_the_surface_are_refused_before_anything_is_sent(client: Client) -> None:
    for call in (
        "shared('ages').call('numpy')",
        "shared('ages').call('__class__')",
        "shared('ages').call('constructor')",
        "shared('ages').property('data_ptr')",
        "session.torch.call('load', ['x'])",
        "session.torch.call('__proto__.x')",
    ):
        script = (
            f"(() => {{ try {{ {call}; return 'sent'; }} catch ({{code}}) {{ return code; }} }})()"
        )
        assert client.run(script) == "NotAllowed", call


def test_functions_literals_and_containers_travel(client: Client) -> None:
    value = client.run(
        """(async () => {
          const {Tensor, Tuple, Slice, Float, Dtype} = duet;
          const ages = shared('ages').call('to', [new Dtype('float64')]);
          const get = async (pointer) => {
            const request = pointer.request({name: 'free'});
            await request.done;
            const {state, value, ownerReason} = request;
            if (state !== 'released') return [state, ownerReason];
            const shown = (item) => (item instanceof Tensor ? item.toNested() : item);
            return Array.isArray(value) ? value.map(shown) : shown(value);
          };
          return Promise.all([
            get(session.torch.call('histc', [ages, 3], {min: 20, max: 50})),
            get(ages.call('__getitem__', [new Slice(1, 3)])),
            get(ages.call('__add__', [Tensor.from([1, 2, 3, 4])])),
            get(ages.call('quantile', [new Float(0.5)])),
            get(ages.call('reshape', [[2, 2]]).call('max', [], {dim: 1})),
            get(ages.call('sort').call('__getitem__', [0])),
            get(ages.property('T')),
            get(ages.call('mean').call('item')),
            get(session.torch.call('zeros', [[2, 2]], {dtype: new Dtype('bool')})),
            get(session.torch.call('stack', [[ages, ages]], {dim: 0}).call('sum')),
          ]);
        })()"""
    )
    assert value == [
        [1.0, 1.0, 2.0],
        [40.0, 50.0],
        [31.0, 42.0, 53.0, 24.0],
        35.0,
        [[40.0, 50.0], [1, 0]],
        [20.0, 30.0, 40.0, 50.0],
        [30.0, 40.0, 50.0, 20.0],
        35.0,
        [[False, False], [False, False]],
        280.0,
    ]


def test_a_large_value_comes_in_chunks_and_a_larger_literal_goes_as_a_blob(client: Client) -> None:
    value = client.run(
        """(async () => {
          const {Tensor} = duet;
          const rows = Array.from({length: 4000}, (_, i) => i);
          const sum = shared('weights').call('__add__', [1]);
          const mine = session.torch.call('add', [Tensor.from(rows, 'float32'), 0]);
          const [one, two] = await Promise.all(
            [sum, mine].map((pointer) => pointer.request({name: 'free'}).done));
          const data = one.value.data;
          return [one.value.shape, data.length, data[0], data.at(-1), two.value.data.at(-1)];
        })()"""
    )
    assert value == [[200, 200], 40_000, 1.0, 40_000.0, 3999.0]


def test_objects_that_the_page_drops_are_gone_there(owner: Owner, client: Client) -> None:
    script = """(async () => {
      const pointer = shared('ages').call('clone');
      await pointer.request({name: 'free'}).done;
      pointer.drop();
      const id = pointer.id;
      pointer.isGone = false;
      return pointer.get().then(() => 'there', ({message}) => message);
    })()"""
    assert client.run(script) == "The owner's side has no such object any more."


def test_the_path_is_shown_and_hosts_stay_hidden_behind_names(client: Client) -> None:
    client.until("session.status().rttMs !== null && session.status().path")
    status = client.run("session.status()")
    assert (status["state"], status["path"]) == ("open", "direct")
    assert status["rttMs"] >= 0 and status["sent"] > 0 and status["received"] > 0
    own = client.run("session.channels.connection.localDescription.sdp")
    hosts = [line.split()[4] for line in own.splitlines() if " typ host" in line]
    assert hosts and all(host.endswith(".local") for host in hosts)


def test_every_stage_was_told_with_its_time(client: Client) -> None:
    stages = client.told("stage")
    done = [told["stage"] for told in stages if told["state"] == "done"]
    assert done == ["code", "signalling", "path", "channel", "verified"]
    assert all(told["ms"] >= 0 for told in stages)
    waiting = "Waiting for the owner to enter your client ID."
    assert waiting in [told.get("message") for told in stages]
