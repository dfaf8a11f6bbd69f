"""The client library of the pages against a real owner, through a real signalling server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.client_kit import Client, bare_pages, pair
from tests.browser.owner_kit import Owner

SHARE = """
ages = torch.tensor([30, 40, 50, 20]).tag("ages").describe("Ages of four people.").send(duet)
weights = torch.rand(3, 4).tag("weights").send(duet)
"""


@pytest.fixture(scope="module")
def bare(signalling: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bare_pages(tmp_path_factory.mktemp("pages"), signalling) as url:
        yield url


@pytest.fixture
def client(chromium: Any, bare: str) -> Iterator[Client]:
    context = chromium.new_context()
    yield Client(context.new_page(), bare)
    context.close()


@pytest.fixture
def paired(owner: Owner, client: Client, signalling: str) -> Iterator[Client]:
    pair(owner, client, signalling, SHARE)
    yield client
    client.run("session.close()")
    owner.run("duet.close()")


def test_a_page_adds_two_numbers_there_and_is_given_the_mean_of_shared_data(
    owner: Owner, paired: Client
) -> None:
    assert paired.run("session.store.map(({tags}) => tags)") == [["ages"], ["weights"]]
    owner.run('duet.requests.add_handler(action="accept")')
    value = paired.run(
        """(async () => {
          const ages = session.pointer(session.store[0]);
          const mean = ages.call('float').call('mean').call('__add__', [1]);
          const request = mean.request({reason: 'The mean.'});
          const {state, value} = await request.done;
          return [state, value.dtype, value.scalar()];
        })()"""
    )
    assert value == ["released", "float32", 36.0]
    assert paired.complaints == []
