"""`Plan`: what `make_plan` gives, on either side: recorded commands that can be sent.

Beside its commands a plan has a *signature*, a closed value, so that whoever gets the plan can call
it by keywords: the form of each argument and of the result, as lists that begin with a letter.

    argument   ["p", type, position]                        one object
               ["m", class name, [[tensor name, position], …]]   a module, as its tensors
    result     ["o", output, type, shape, dtype, length]    made by the plan
               ["i", position]                              an argument that was one object
               ["m", argument's name]                       a module that was given
               ["l", [part, …]], ["t", [part, …]], ["d", [[key, part], …]], ["v", plain value]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from duet_p2p.errors import WrongSide
from duet_p2p.objects import cards
from duet_p2p.objects.notes import NO_NOTE, Noted, checked_tags
from duet_p2p.surface.plan import digest_of, listing_of, split
from duet_p2p.wire.messages import DefinePlan

__all__ = ["PLAN_TYPE", "Plan", "arguments_of", "is_signature"]

PLAN_TYPE: Final = "duet.Plan"

_DEPTH: Final = 16


class Plan:
    """A recorded function. Send it; what `send` gives is called with keywords.

    Args:
        definition: complete, captures nothing.
        signature: see above.

    Attributes:
        name: of the function.
    """

    def __init__(self, definition: DefinePlan, signature: dict[str, Any]) -> None:
        self.name = definition.name
        self._definition = replace(definition, signature=signature)
        self._note: Noted = NO_NOTE

    @property
    def digest(self) -> str:
        """SHA-256 over the commands, 64 hex digits; the same on both sides."""
        return digest_of(self._definition)

    @property
    def signature(self) -> dict[str, Any]:
        """Names of the arguments and form of the result."""
        found: dict[str, Any] = self._definition.signature
        return found

    @property
    def tags(self) -> list[str]:
        """The tags that were set."""
        return list(self._note.tags)

    @property
    def description(self) -> str:
        """The description that was set."""
        return self._note.description

    def listing(self) -> str:
        """The commands as torch code."""
        return listing_of(self._definition)

    def tag(self, *tags: str) -> Plan:
        """Sets the tags, in place, and returns the plan."""
        self._note = replace(self._note, tags=checked_tags(tags))
        return self

    def describe(self, description: str) -> Plan:
        """Sets the description, in place, and returns the plan."""
        if not isinstance(description, str):
            raise TypeError(f"a description is text, not {type(description).__name__}")
        self._note = replace(self._note, description=description)
        return self

    def send(
        self,
        duet: Any,
        pointable: bool = True,
        description: str = "",
        tags: list[str] | None = None,
        searchable: bool | None = None,
    ) -> Any:
        """Sends the plan to the owner's engine; of a scientist, returns what can be called."""
        return duet.send(
            self,
            pointable=pointable,
            description=description,
            tags=tags,
            searchable=searchable,
        )

    def messages(
        self, ident: int, *, tags: Sequence[str] = (), description: str = "", listed: bool = False
    ) -> list[DefinePlan]:
        """The messages that define it under an id."""
        return split(
            replace(
                self._definition,
                plan=ident,
                tags=tuple(tags),
                description=description,
                listed=listed,
            )
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Belongs to a plan that was sent."""
        raise WrongSide("send the plan first, and call what that gives: plan.send(duet)(x=…)")

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.signature["args"])
        return f"<plan {self.name}({names}), {len(self._definition.steps)} commands>"

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name,
            "arguments": [name for name, _ in self.signature["args"]],
            "tags": self.tags,
            "description": self.description,
            "commands": len(self._definition.steps),
        }
        return cards.card("Plan", facts, code=self.listing())


def arguments_of(signature: dict[str, Any]) -> dict[str, Any]:
    """Name to form of each argument."""
    return dict(signature["args"])


def is_signature(value: Any) -> bool:
    """Whether a closed value from the other side is a signature in every part."""
    if not isinstance(value, dict) or set(value) != {"args", "result"}:
        return False
    args = value["args"]
    return (
        isinstance(args, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in args
        )
        and len({name for name, _ in args}) == len(args)
        and all(_is_argument(form) for _, form in args)
        and _is_result(value["result"], {name for name, _ in args}, 0)
        and _is_whole(value)
    )


def _is_whole(signature: Any) -> bool:
    """Whether every input and every output has its place, and no two have the same."""
    inputs: list[int] = []
    for _, form in signature["args"]:
        inputs += [form[2]] if form[0] == "p" else [position for _, position in form[2]]
    outputs, positions = set[int](), set[int]()

    def walk(form: Any) -> None:
        if form[0] == "o":
            outputs.add(form[1])
        elif form[0] == "i":
            positions.add(form[1])
        elif form[0] in ("l", "t"):
            for part in form[1]:
                walk(part)
        elif form[0] == "d":
            for _, part in form[1]:
                walk(part)

    walk(signature["result"])
    return (
        sorted(inputs) == list(range(len(inputs)))
        and outputs == set(range(len(outputs)))
        and positions <= set(inputs)
    )


def _is_argument(form: Any) -> bool:
    match form:
        case ["p", str(), int()]:
            return True
        case ["m", str(), list(pairs)]:
            return all(
                isinstance(pair, list)
                and len(pair) == 2
                and isinstance(pair[0], str)
                and isinstance(pair[1], int)
                for pair in pairs
            )
    return False


def _is_result(form: Any, names: set[str], depth: int) -> bool:
    if depth > _DEPTH:
        return False
    match form:
        case ["o", int(output), str(), shape, dtype, length]:
            dims = shape is None or (
                isinstance(shape, list) and all(isinstance(dim, int) and dim >= 0 for dim in shape)
            )
            of_dtype = dtype is None or isinstance(dtype, str)
            return output >= 0 and dims and of_dtype and (length is None or isinstance(length, int))
        case ["i", int()] | ["v", None | bool() | int() | float() | str()]:
            return True
        case ["m", str(name)]:
            return name in names
        case ["l" | "t", list(parts)]:
            return all(_is_result(part, names, depth + 1) for part in parts)
        case ["d", list(pairs)]:
            return all(
                isinstance(pair, list)
                and len(pair) == 2
                and isinstance(pair[0], str | int)
                and _is_result(pair[1], names, depth + 1)
                for pair in pairs
            )
    return False
