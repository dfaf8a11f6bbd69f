"""Programs that write into parts of containers, which one of two data sets cannot make."""

from __future__ import annotations

from typing import Any

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import M, Programs
from tests.security.neighbour_kit import T

PROGRAMS = Programs()
program = PROGRAMS.program
LISTS = "python.List."


def inverse(p: Any) -> Ref:
    return p.op("torch.linalg.inv", M)


def read(p: Any, held: Ref, name: str = "List") -> list[Ref]:
    """A container with all that is made of it, and an element."""
    first = "a" if name == "Dict" else 0
    return [
        held,
        p.op(f"python.{name}.copy", held),
        p.op(f"python.{name}.__getitem__", held, first),
    ]


@program
def a_part_of_a_list_that_is_written_to_later(p: Any) -> list[Ref]:
    part, other = inverse(p), p.op("torch.sum", M)
    held = p.op("python.List", [part, other])
    outer = p.op("python.List", [held])
    p.do(T + "mul_", part, 7.0)
    p.do(T + "add_", other, 1.0)
    p.do(T + "add_", part, other)
    return [*read(p, held), *read(p, outer), p.op("torch.block_diag", part, other)]


@program
def a_part_of_a_list_that_was_written_to(p: Any) -> list[Ref]:
    part = inverse(p)
    p.do(T + "mul_", p.op(T + "__getitem__", part, 0), 7.0)
    held = p.op("python.List", [part, part])
    return [*read(p, held), p.op("torch.stack", held)]


@program
def a_part_of_a_dict_that_is_written_to(p: Any) -> list[Ref]:
    part = inverse(p)
    held = p.op("python.Dict", a=part)
    p.do(T + "mul_", part, 7.0)
    return read(p, held, "Dict")


@program
def what_an_iterator_gives_of_a_list_that_changes(p: Any) -> list[Ref]:
    part = inverse(p)
    held = p.op("python.List", [part])
    going = p.op("python.iter", held)
    first = p.op("python.next", going)
    p.do(T + "mul_", part, 7.0)
    p.do(LISTS + "append", held, part)
    second = p.op("python.next", going)
    return [first, second, p.op("torch.sum", second), *read(p, held)]


@program
def a_part_of_a_tuple_that_a_call_gave(p: Any) -> list[Ref]:
    parts = p.op("torch.split", inverse(p), 1)
    p.do(T + "mul_", p.op("python.Tuple.__getitem__", parts, 0), 7.0)
    return [parts, p.op("torch.cat", parts)]


@program
def a_part_that_is_to_have_gradients(p: Any) -> list[Ref]:
    part = inverse(p)
    held = p.op("python.List", [part])
    p.do(T + "requires_grad=", part, True)
    return [part, p.op("torch.sum", part), *read(p, held)]
