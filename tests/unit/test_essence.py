"""Recipes of the same value have one essence, and those of other values have others."""

import pytest

from duet_p2p.owner.essence import essence_of

LOSS = "v1 = torch.relu(store['x'])\ntorch.nn.functional.mse_loss(v1, store['y'])"
NAMED = LOSS.replace("\n", "\nv3 = ")


@pytest.mark.parametrize(
    "more",
    [
        "v3.clone()",
        "torch.clone(v3)",
        "v3.detach()",
        "v3.view(1)",
        "v3.reshape((1,))",
        "v3.to(torch.float64)",
        "v3.item()",
        "v3 + 0",
        "0 + v3",
        "v3 * 1.0",
        "v3 / 1",
        "torch.add(v3, 0)",
        "torch.mul(v3, 1)",
        "v3[...]",
        "v3[None]",
        "v3[:]",
        "v3.data",
        "+v3",
        "python.collect(v3)",
        "v4 = v3.clone()\nv5 = v4 + 0.0\nv5.view(())",
    ],
)
def test_a_copy_is_what_it_is_a_copy_of(more: str) -> None:
    assert essence_of(f"{NAMED}\n{more}") == essence_of(LOSS)


def test_a_copy_on_the_way_and_other_numbers_of_lines_change_nothing() -> None:
    copied = (
        "v1 = store['x'].contiguous()\nv2 = torch.relu(v1)\nv4 = v2.clone()\n"
        "torch.nn.functional.mse_loss(v4, store['y'])"
    )
    assert essence_of(copied) == essence_of(LOSS)
    assert essence_of("batch of 64 of store['x']") == essence_of("batch of 32 of store['x']")


@pytest.mark.parametrize(
    "other",
    [
        "torch.nn.functional.mse_loss(store['x'], store['y'])",
        LOSS.replace("relu", "tanh"),
        LOSS.replace("store['y']", "store['z']"),
        f"{NAMED}\nv3 * 2",
        f"{NAMED}\nv3 + v1",
        f"{NAMED}\ntorch.add(v3, v1)",
        f"{NAMED}\nv1",
        f"{NAMED}\nv3.sum()",
        "store['x']",
        "",
    ],
)
def test_another_value_has_another_essence(other: str) -> None:
    assert essence_of(other) != essence_of(LOSS)


def test_an_essence_is_short_whatever_a_text_among_the_arguments_says() -> None:
    """It took sixteen times the memory with each line: the copy of `.to(` is all before it."""
    lines = ["v1 = store['x'].sum()"]
    lines += [f"v{n} = python.Tuple.count(({f'v{n - 1}, ' * 4}), 'x.to(')" for n in range(2, 10)]
    assert len(essence_of("\n".join(lines))) == len(essence_of("store['x']"))


def test_a_copy_of_an_object_is_that_object() -> None:
    assert essence_of("store['x'].clone()") == essence_of("store['x']")
    assert essence_of("v1 = store['x'].clone()\nv1[None]") == essence_of("store['x']")
    assert essence_of("store['x'].clone()") != essence_of("store['y'].clone()")
