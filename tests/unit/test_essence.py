"""Recipes of the same value have one essence, and those of other values have others."""

import hashlib
from typing import Any

import pytest

from duet_p2p.owner import essence
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
        "v3[()]",
        "v3 + -0.0",
        "v3 - 0",
        "v3 ** 1",
        "torch.sub(v3, 0)",
        "torch.div(v3, 1.0)",
        "torch.pow(v3, 1)",
        "python.List([v3])",
        "python.Tuple(v3)",
        "python.Float(v3)",
        "v12 = v3.clone()\nv13 = v12.detach()\nv13.view(())",
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


def test_a_copy_of_the_data_itself_is_the_data() -> None:
    assert essence_of("store['x'].clone()") == essence_of("store['x']")
    assert essence_of("v1 = store['x'].clone()\nv1.view(3)") == essence_of("store['x']")
    assert essence_of("store['y'].clone()") != essence_of("store['x']")


def lines_that_grow(count: int) -> str:
    """Each names the one before it many times, in texts, and looks like a copy of itself."""
    lines = ["v0 = python.List([" + f"'{'A' * 60}', " * 10 + "'.to(', 'x'])"]
    for line in range(1, count):
        names = f"'{f'v{line - 1} ' * 19}', " * 12
        lines.append(f"v{line} = python.List([{names}'.to(', 'x'])")
    return "\n".join([*lines, f"v{count - 1} + 1"])


def test_no_recipe_is_longer_to_be_read_than_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def hashed(data: bytes) -> Any:
        nonlocal longest
        longest = max(longest, len(data))
        return hashlib.sha256(data)

    monkeypatch.setattr(essence, "sha256", hashed)
    text = lines_that_grow(3)  # ten lines had no end, and no memory was enough
    assert essence_of(text)
    assert longest < 150 * len(text)
    assert essence_of(lines_that_grow(10)) != essence_of(lines_that_grow(11))


@pytest.mark.parametrize(
    "other",
    [
        "torch.nn.functional.mse_loss(store['x'], store['y'])",
        LOSS.replace("relu", "tanh"),
        LOSS.replace("store['y']", "store['z']"),
        f"{NAMED}\nv3 * 2",
        f"{NAMED}\nv3 * 1.5",
        f"{NAMED}\nv3 + 5",
        f"{NAMED}\nv3 - 0.5",
        f"{NAMED}\ntorch.add(v3, 7)",
        f"{NAMED}\ntorch.pow(v3, 2)",
        f"{NAMED}\nv3.clone() * 2",
        f"{NAMED}\n+v3 - v1",
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


def test_what_is_written_into_is_no_name() -> None:
    """A line may say what an assignment did: what stands before its sign is part of it."""
    assert essence_of("store['x'][0] = 5") != essence_of("store['y'][0] = 5")
    into = "v1 = torch.zeros(3)\nv1[0] = "
    assert essence_of(f"{into}store['x']") != essence_of("store['x']")


def test_a_copy_of_what_takes_long_to_write_is_a_copy() -> None:
    long = "store['" + "x" * 500 + "']"
    assert essence_of(f"{long}.clone()") == essence_of(long)
    assert essence_of(f"v1 = {long}.clone()\nv1.view(3)") == essence_of(long)
    assert essence_of(long) != essence_of(long.replace("xx']", "xy']"))


def test_an_essence_is_short_whatever_a_text_among_the_arguments_says() -> None:
    """It took sixteen times the memory with each line: the copy of `.to(` is all before it."""
    lines = ["v1 = store['x'].sum()"]
    lines += [f"v{n} = python.Tuple.count(({f'v{n - 1}, ' * 4}), 'x.to(')" for n in range(2, 10)]
    assert len(essence_of("\n".join(lines))) == len(essence_of("store['x']"))


def test_a_copy_of_an_object_is_that_object() -> None:
    assert essence_of("store['x'].clone()") == essence_of("store['x']")
    assert essence_of("v1 = store['x'].clone()\nv1[None]") == essence_of("store['x']")
    assert essence_of("store['x'].clone()") != essence_of("store['y'].clone()")
