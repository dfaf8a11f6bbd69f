"""The one list of what may be called: a reviewed data file, read at import into a closed mapping.

``table.tsv`` is made by ``scripts/make_surface`` from torch itself and the reviewed lines in
``scripts/surface_reviewed.tsv``; nothing is ever added at run time. Both sides read it: the
scientist's side to make pointers and to refuse early, the owner's side to refuse for certain.

Two columns hold small texts of their own:

``result`` says what a call gives (see `Rule.result`). Where that depends on an argument it is a
list of choices, ``dim@1=tensors:values,indices;tensor``: if ``dim``, by keyword or as positional
argument 1 (the object itself counts as 0), is given and is not None, False or a tensor, a named
tuple, else one tensor. ``a@1&b@2=…`` asks for both, ``~a@1=…`` for its absence. `result_of`
answers.

``note`` may hold facts for the engine's lineage: ``writes=running_mean@1,if:training@5`` (arguments
that the function writes to, and when), ``inplace@3`` (writes its first argument if argument 3 or
``inplace=`` is true); `written` answers. ``axis=dim@1`` says which argument names the axis.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from duet_p2p.surface import choices

__all__ = [
    "DIGEST",
    "FORMS",
    "RECORDS",
    "SHAPES",
    "TABLE",
    "Rule",
    "find",
    "names_under",
    "nearest",
    "result_of",
    "switches",
    "writes",
    "written",
]

FORMS: Final = frozenset(
    {"function", "method", "inplace", "property", "setter", "factory", "constructor", "mutator"}
)
SHAPES: Final = frozenset({"static", "dynamic", "none"})
RECORDS: Final = frozenset(
    {"row_uniform", "reduce", "copy", "select", "state", "metadata", "opaque"}
)

FILE: Final = Path(__file__).with_name("table.tsv")


@dataclass(frozen=True, slots=True)
class Rule:
    """One reviewed name."""

    name: str
    """Canonical name, ``torch.Tensor.relu``."""
    aliases: tuple[str, ...]
    """Other names of the very same object in torch."""
    form: str
    """One of `FORMS`."""
    result: str
    """``tensor``, ``tensors`` (arity from shape inference), ``tensors:values,indices``, ``none``,
    ``self`` (the first argument), ``item`` (Float, Int, Bool by the dtype of the argument),
    ``number`` and ``truth`` (by the types of the operands, see `types.number_type`), ``element``
    (of a container), a type name, or choices between these (see the module)."""
    shape: str
    """``static``: follows from shapes and scalars; ``dynamic``: from values; ``none``: has none."""
    record: str
    """What it does with records, one of `RECORDS` (release.md, section 2)."""
    checks: tuple[str, ...]
    """What surface/checks.py looks at before the call."""
    note: str

    @property
    def short(self) -> str:
        """The last part of the name, as it appears in tags: ``relu``."""
        return self.name.rpartition(".")[2]


def _read(text: str) -> dict[str, Rule]:
    rules = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, aliases, form, result, shape, record, checks, note = line.split("\t")
        if form not in FORMS or shape not in SHAPES or record not in RECORDS or name in rules:
            raise ValueError(f"bad line in {FILE.name}: {line}")
        rules[name] = Rule(
            name=name,
            aliases=tuple(aliases.split()),
            form=form,
            result=result,
            shape=shape,
            record=record,
            checks=tuple(checks.split()),
            note=note,
        )
    return rules


_BYTES = FILE.read_bytes()
DIGEST: Final = hashlib.sha256(_BYTES).hexdigest()
TABLE: Final[Mapping[str, Rule]] = MappingProxyType(_read(_BYTES.decode()))

_ALIASES: Final = MappingProxyType({a: rule.name for rule in TABLE.values() for a in rule.aliases})
_CHOICES: Final = MappingProxyType(
    {rule.name: choices.parse(rule.result) for rule in TABLE.values() if ";" in rule.result}
)
_WRITES: Final = MappingProxyType(
    {
        rule.name: positions
        for rule in TABLE.values()
        if (positions := choices.written_positions(rule.form, rule.result, rule.note)) is not None
    }
)


def _children() -> dict[str, tuple[str, ...]]:
    below: dict[str, set[str]] = {}
    for name in (*TABLE, *_ALIASES):
        parts = name.split(".")
        for i in range(1, len(parts)):
            below.setdefault(".".join(parts[:i]), set()).add(parts[i])
    return {prefix: tuple(sorted(names)) for prefix, names in below.items()}


_CHILDREN: Final = MappingProxyType(_children())


def find(name: str) -> Rule | None:
    """The rule of a name or of an alias, None if it is not on the surface."""
    rule = TABLE.get(name)
    if rule is None:
        canonical = _ALIASES.get(name)
        rule = None if canonical is None else TABLE[canonical]
    return rule


def names_under(prefix: str) -> tuple[str, ...]:
    """The sorted next parts of all names and aliases below a prefix, for ``dir()``.

    ``names_under("torch.utils.data")`` has ``DataLoader``; ``names_under("torch")`` has ``relu``
    and ``utils``. Empty if nothing lies below.
    """
    return _CHILDREN.get(prefix, ())


def nearest(name: str) -> str | None:
    """The offered name that looks most like this one, for error texts; None if none is close."""
    last = name.rpartition(".")[2].lower()
    best = None
    score = 0.6
    for known in (*TABLE, *_ALIASES):
        known_last = known.rpartition(".")[2].lower()
        matcher = difflib.SequenceMatcher(None, last, known_last)
        if matcher.real_quick_ratio() < score or matcher.quick_ratio() < score:
            continue
        ratio = matcher.ratio() + 0.3 * difflib.SequenceMatcher(None, name, known).ratio()
        if ratio > score:
            best, score = known, ratio
    return best


def result_of(
    rule: Rule,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = MappingProxyType({}),
    is_tensor: Callable[[Any], bool] = lambda value: False,
) -> str:
    """What this call gives: `Rule.result` with the choice between its parts made.

    Args:
        rule: of the name.
        args: positional arguments, the object itself first for methods.
        kwargs: keyword arguments.
        is_tensor: says whether an argument stands for a tensor (a pointer, a `TensorSpec`): a
            tensor as second argument of ``max`` is another operand, not a dimension.
    """
    parsed = _CHOICES.get(rule.name)
    return rule.result if parsed is None else choices.choose(parsed, args, kwargs, is_tensor)


def switches(rule: Rule) -> tuple[tuple[str, int], ...]:
    """The arguments, keyword and position, that say whether a call writes to another one."""
    positions = _WRITES.get(rule.name)
    if positions is None:
        return ()
    found = [] if positions.switch is None else [("inplace", positions.switch)]
    return (*found, positions.only_if) if positions.only_if is not None else tuple(found)


def writes(rule: Rule) -> bool:
    """Whether some call of this name writes to an argument."""
    return rule.name in _WRITES


def written(
    rule: Rule,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    slots: Mapping[int, Any] = MappingProxyType({}),
) -> list[Any]:
    """The arguments that this call writes to: the object of an in-place method, running statistics.

    With the slots of what was given as an object also those that it may write to, since a switch
    among them may be private. Not the parameters that ``Optimizer.step`` or ``backward`` change,
    which are no arguments.
    """
    positions = _WRITES.get(rule.name)
    return [] if positions is None else choices.pick(positions, args, kwargs, slots)
