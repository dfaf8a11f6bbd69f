"""A dict that the owner shares, in a scientist's hands: what shows, and that all of it works."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import duet_p2p as sy
from duet_p2p.errors import NotAllowed, RemoteError, WrongSide
from duet_p2p.scientist.requests import RequestStatus
from tests.surface.joined import Joined, joined, until

FIELDS = {"image": torch.arange(12.0).reshape(3, 4), "label": torch.tensor([0, 1, 1])}
PERSONS = {"Anna": torch.ones(2, 3), "Kim": torch.zeros(2, 3)}


@pytest.fixture(scope="module")
def both() -> Iterator[Joined]:
    with joined() as made:
        yield made


def shared(both: Joined, value: Any, **options: Any) -> Any:
    """The scientist's pointer to a dict that was just shared."""
    handle = both.owner.send(value, **options)
    (found,) = until(
        lambda: [p for p in both.scientist.store if p.id_at_location == handle.id_at_location]
    )
    return found


def accepted(both: Joined, pointer: Any) -> Any:
    """What arrives once the owner has accepted a request for it."""
    request = pointer.request(reason="to look at it")
    (asked,) = until(lambda: list(both.owner.requests))
    asked.accept()
    until(lambda: request.status != RequestStatus.Pending)
    return pointer.get()


def test_items_of_different_forms_are_hidden_and_work(both: Joined) -> None:
    found = shared(both, FIELDS)
    assert len(found) == 2
    image, label = found["image"], found["label"]
    loss = torch.nn.functional.cross_entropy(torch.mul(image, 0.5), label)
    wanted = torch.nn.functional.cross_entropy(FIELDS["image"] * 0.5, FIELDS["label"])
    assert torch.equal(accepted(both, loss), wanted)
    assert torch.equal(accepted(both, torch.clone(image).t()[1]), FIELDS["image"].t()[1])
    assert torch.equal(accepted(both, image), FIELDS["image"])


def test_what_is_hidden_says_what_to_do(both: Joined) -> None:
    image = shared(both, FIELDS)["image"]
    for use in (lambda: image.shape, lambda: image.sum(), lambda: image[0]):
        with pytest.raises((NotAllowed, TypeError), match=r"keys='public'"):
            use()


def test_of_names_of_fields_shapes_are_there(both: Joined) -> None:
    image = shared(both, FIELDS, keys="public")["image"]
    assert image.shape == (3, 4)
    assert torch.equal(accepted(both, image.sum(0)), FIELDS["image"].sum(0))


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_items_of_one_form_show_it_and_one_that_is_missing_shows_the_same(
    both: Joined, kind: type
) -> None:
    found = shared(both, kind(PERSONS))
    item, missing = found["Anna"], found["Ines"]
    assert item.shape == missing.shape == (2, 3)
    assert torch.equal(accepted(both, item.sum(0)), torch.full((3,), 2.0))
    with pytest.raises(RemoteError):
        accepted(both, missing)


def test_an_item_of_one_form_is_a_copy(both: Joined) -> None:
    found = shared(both, PERSONS)
    item = found["Anna"]
    item += 1
    assert torch.equal(accepted(both, item), PERSONS["Anna"] + 1)
    assert torch.equal(accepted(both, found["Anna"]), PERSONS["Anna"])


def test_names_of_a_state_are_public(both: Joined) -> None:
    net = torch.nn.Linear(3, 2)
    for state in (shared(both, net), shared(both, net.state_dict())):
        assert state["weight"].shape == (2, 3)


def test_a_wrapped_dict_takes_the_word_and_a_wrong_one_is_refused(both: Joined) -> None:
    sy.lib.python.Dict(FIELDS).tag("wrapped").send(both.owner, keys="public")
    until(lambda: "wrapped" in both.scientist.store)
    assert both.scientist.store["wrapped"]["label"].shape == (3,)
    with pytest.raises(ValueError, match="'public' or 'private'"):
        both.owner.send(FIELDS, keys="hidden")
    with pytest.raises(ValueError, match="needs shapes='public'"):
        both.owner.send(FIELDS, keys="public", shapes="private")
    with pytest.raises(WrongSide, match="keys="):
        both.scientist.send({"a": 1}, keys="private")


def test_an_owner_who_says_nothing_of_keys_is_told_once() -> None:
    with joined() as both:
        lines: list[str] = []
        both.owner._say = lines.append
        both.owner.send(torch.ones(2))
        both.owner.send(torch.nn.Linear(2, 1).state_dict())
        both.owner.send(PERSONS, keys="private")
        both.owner.send(PERSONS, shapes="private")
        assert not lines
        for value in (PERSONS, FIELDS):
            both.owner.send(value)
        (line,) = lines
        assert "keys='public'" in line
