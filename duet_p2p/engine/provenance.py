"""How values come to be, command by command: nodes for recipes, and what training wrote.

`before` looks at the arguments while they still are what the command was given; `after` leaves the
command's node with what it wrote in place. Commands on public values only leave plain nodes: they
are known by their contents once private values meet them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine import axes, schedules, writers
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import Pass
from duet_p2p.engine.clips import CLIPS
from duet_p2p.engine.containers import chooses, is_container_call
from duet_p2p.engine.drawing import is_random
from duet_p2p.engine.form import form_of, inputs_of, keep_root
from duet_p2p.engine.gradients import gradient_of, reached_by
from duet_p2p.engine.holding import parameters_of
from duet_p2p.engine.labels import UNBOUND, Kind
from duet_p2p.engine.lineage import Lineage, Owned, is_atomic
from duet_p2p.engine.recipe import Made, boundary, made
from duet_p2p.engine.schedules import MOVE, Move
from duet_p2p.engine.store import Poison
from duet_p2p.engine.writers import RANDOM, Sums
from duet_p2p.surface.table import Rule, written
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["BACKWARD", "NORMS", "NOTHING", "OPTIMIZING", "RANDOM", "Origin", "Provenance"]

_STEP: Final = "torch.optim.Optimizer.step"
_ZERO_GRAD: Final = "torch.optim.Optimizer.zero_grad"
_GRAD: Final = "torch.Tensor.grad="
_WANTS_GRAD: Final = "torch.Tensor.requires_grad="
BACKWARD: Final = "torch.Tensor.backward"
_ITER: Final = frozenset({"python.iter", "python.Iterator.__iter__", "python.Any.__iter__"})
_NEXT: Final = frozenset({"python.next", "python.Iterator.__next__", "python.Any.__next__"})
_LEAVES_NO_NODE: Final = frozenset({
    *CLIPS, *_NEXT, _STEP, BACKWARD,
    _ZERO_GRAD,
    # what schedulers do is seen at the next step, in the settings that it has
    MOVE, "torch.optim.lr_scheduler.LRScheduler.feed",
})  # fmt: skip
"""They write, and training or the form of something else tells."""
OPTIMIZING: Final = frozenset({_STEP, _ZERO_GRAD})
"""What training loops call on an optimizer; it writes to numbers, and moves no tensor."""
_NEEDS_NO_INPUTS: Final = frozenset({*OPTIMIZING, MOVE})
"""Those of them whose inputs nobody asks for: no node is left, and `_step` looks for itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a command was given, while it was so."""

    nodes: dict[int, Made]
    forms: dict[int, str]
    writers: frozenset[str]
    """Of a training step, for the labels of what it writes."""
    move: Move | None = None
    """Of a scheduler."""
    sums: Sums = field(default_factory=list)
    """Of a backward."""


NOTHING: Final = Origin({}, {}, frozenset())
"""Of a command that was given nothing."""


class Provenance:
    """Nodes of results and of what is written in place.

    Args:
        lineage: where storages and objects keep theirs.

    Attributes:
        run: stands for the plan that runs and all that it was given; empty outside of plans.
    """

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self.run = ""

    def before(
        self, op: Op, rule: Rule, given: Arguments, targets: list[torch.Tensor], private: bool
    ) -> Origin:
        """The command is about to run.

        Args:
            op: the command.
            rule: of its name.
            given: its arguments.
            targets: tensors that it may write to.
            private: a private value takes part.
        """
        lineage, name = self._lineage, rule.name
        move = schedules.moves(name, given, lineage)
        if name == _STEP:
            private = private or any(is_private(lineage.label(t)) for t in targets)
        elif name in CLIPS:  # at the first step only the gradients are private
            grads = [grad for t in given.tensors() if (grad := gradient_of(t)) is not None]
            private = private or any(is_private(lineage.label(grad)) for grad in grads)
        elif name == BACKWARD:  # what a public loss adds to a private gradient is a step, too
            private = private or any(is_private(lineage.label(grad)) for grad in targets)
        if not private:
            slots = given.slots.items()
            made_of = {id: slot.made for id, slot in slots if slot.made is not None}
            return Origin(made_of, {}, frozenset(), move)
        nodes: dict[int, Made] = {}
        forms: dict[int, str] = {}
        if op.outs or name not in _NEEDS_NO_INPUTS:
            nodes, forms = inputs_of(given.slots, lineage)
        keep_root(
            [t for t in targets if (e := given.owned(t, lineage)) is None or e.label.is_public],
            lineage,
        )
        writer = ""
        sums: Sums = []
        if name == _STEP:
            writer = self._step(given)
        elif name == BACKWARD or name in CLIPS or axes.base_name(name) in NORMS:
            node = made(name, op.args, op.kwargs, nodes, forms, op.mode)
            if name == BACKWARD:
                sums = self._sums(given) if targets else sums
                lineage.backward = lineage.backward if self.run else node
            clipped = writers.added_to(given.tensors(), lineage) if name in CLIPS else ()
            writer = writers.of_node(node, is_added=bool(sums), added=clipped)
        if writer and self.run and writer != UNBOUND:
            writer = f"{RANDOM if writer.startswith(RANDOM) else ''}{self.run}"
        return Origin(nodes, forms, frozenset({writer} if writer else ()), move, sums)

    def _step(self, given: Arguments) -> str:
        """The form of an optimizer's step; see writers.py."""
        optimizer = given.args[0]
        if not isinstance(optimizer, Optimizer) or len(given.args) + len(given.kwargs) > 1:
            return UNBOUND
        lineage = self._lineage
        added = () if self.run else writers.added_to(parameters_of(optimizer), lineage)
        lineage.track(optimizer).added = added
        return writers.of_step(optimizer, lineage)

    def _sums(self, given: Arguments) -> Sums:
        root = given.args[0]
        if not isinstance(root, torch.Tensor):
            return []
        leaves, _ = given.graph or reached_by(root)
        return writers.add_up(leaves, self._lineage)

    def after(self, op: Op, rule: Rule, given: Arguments, result: Any, origin: Origin,
              targets: Iterable[torch.Tensor]) -> Made:  # fmt: skip
        """The command ran: the node of its result, which is left with what it wrote as well."""
        lineage, name = self._lineage, rule.name
        if origin.move is not None:
            schedules.moved(origin.move, result, given, lineage)
        elif name in CLIPS and not self.run:  # a run of a plan has one form for all that it does
            writers.mark_clipped(name, given, origin.writers, lineage)
        writers.keep_added(origin.sums, lineage)
        node = self._node(op, name, given, origin)
        if name == _ZERO_GRAD and isinstance(given.args[0], Optimizer):
            writers.mark_zeroed(given.args[0], lineage)
        self._leave(node, op, rule, given, targets)
        if name in _NEXT:
            return self._batch(node, result, given)
        return self._as_parameter(node, rule, given, result, origin)

    def _as_parameter(
        self, node: Made, rule: Rule, given: Arguments, result: Any, origin: Origin
    ) -> Made:  # fmt: skip
        """The node of what a command gave, or would have: recipes begin at parameters.

        Where private values chose what it gave, its node does not say that it is one.
        """
        name, first = rule.name, given.args[0] if given.args else None
        if rule.result == "self":
            result = first
        if name != "torch.nn.Parameter":
            if not isinstance(result, torch.nn.Parameter) or name == "torch.Tensor.grad":
                return node
            if any([slot.is_loose for slot in given.slots.values()]):
                return node
            if is_container_call(name, given) and chooses(rule.short, given, self._lineage):
                return node
        return boundary("parameter", form_of(node) if origin.forms else "")

    def _node(self, op: Op, name: str, given: Arguments, origin: Origin) -> Made:
        settings = self._settings(op, name, given)
        node = made(name, op.args, settings, origin.nodes, origin.forms, op.mode)
        if is_random(name) and name not in _NEXT and not name.endswith(".iter"):
            node.has_random = True
        return node

    def _leave(self, node: Made, op: Op, rule: Rule, given: Arguments,
               targets: Iterable[torch.Tensor]) -> None:  # fmt: skip
        """Leaves a command's node with all that it wrote to."""
        name = rule.name
        is_told_elsewhere = name in _LEAVES_NO_NODE or axes.base_name(name) in NORMS
        # that a gradient is gone changes no number of its tensor
        is_told_elsewhere = is_told_elsewhere or (name == _GRAD and op.args[1:] == (None,))
        if is_told_elsewhere or rule.form == "constructor":
            return
        for target in targets:
            entry = self._lineage.own(target)
            if name == _WANTS_GRAD and (entry.root or entry.label.is_public):
                continue  # what is known by a content is known with this
            if not entry.is_shared:  # an owner's object, which the command was refused
                entry.written = node
        for value in written(rule, given.args, given.kwargs, given.slots):
            if not is_atomic(value) and not isinstance(value, torch.Tensor | tuple | Poison):
                self._lineage.track(value).written = node

    @staticmethod
    def break_off(origin: Origin) -> None:
        """The command failed for a public reason."""
        writers.break_off(origin.sums)

    def failed(
        self, op: Op, rule: Rule, given: Arguments, origin: Origin,
        targets: Iterable[torch.Tensor],
    ) -> list[Made]:  # fmt: skip
        """The command failed on private values: the nodes that its results would have had.

        A rule that knows a recipe again must not tell by its answer that this has none; nor must
        one of what it would have written to.
        """
        node = self._node(op, rule.name, given, origin)
        self._leave(node, op, rule, given, targets)
        if rule.name in _NEXT:
            node = self._batch(node, None, given)
        else:
            node = self._as_parameter(node, rule, given, None, origin)
        return list(self.results(node, [None] * len(op.outs)))

    def plain(self, op: Op, name: str, given: Arguments, entries: Sequence[Owned | None], *,
              is_met: bool) -> Made:  # fmt: skip
        """The node of a command that gives one new tensor, writes to nothing and draws nothing.

        Args:
            op: the command.
            name: canonical.
            given: its arguments.
            entries: of the tensors among them, in order.
            is_met: a private value takes part.
        """
        nodes: dict[int, Made] = {}
        is_simple = True
        for id, slot in given.slots.items():
            if slot.made is not None:
                nodes[id] = slot.made
            if not isinstance(slot.value, torch.Tensor):
                is_simple = False
        if is_met and not (is_simple and _are_their_nodes(entries)):
            # contents, settings and what training made are in the form
            nodes, forms = inputs_of(given.slots, self._lineage)
            return made(name, op.args, op.kwargs, nodes, forms, op.mode)
        return made(name, op.args, op.kwargs, nodes, mode=op.mode)

    def keep(self, node: Made, result: torch.Tensor) -> None:
        """The node of a private tensor stays with its storage, if that has none."""
        entry = self._lineage.entry(result)
        if entry is not None:
            self.keep_in(entry, node)

    @staticmethod
    def keep_in(entry: Owned, node: Made) -> None:
        """`keep` of a tensor whose entry is known."""
        if entry.made is None and is_private(entry.label):
            entry.made = node

    def _settings(self, op: Op, name: str, given: Arguments) -> Mapping[str, Any]:
        """The keywords of a command; of a shuffled batch also the seeds that decide which it is."""
        if name not in _NEXT or not self._lineage.seeds or not given.args:
            return op.kwargs
        entry = self._lineage.find(given.args[0])
        is_shuffled = entry is not None and isinstance(entry.origin, Pass) and entry.origin.number
        return {**op.kwargs, "seeds": self._lineage.seeds} if is_shuffled else op.kwargs

    def _batch(self, node: Made, result: Any, given: Arguments) -> Made:
        """What `next` gave, in words that a rule may know again: no private value is in them.

        Whether it is a batch, and of what, is said by the commands, and its size where that is
        told. Otherwise a rule that denied another batch would tell by its answer whether this one
        is missing. What else is iterated over is read as it was made.
        """
        is_batch, name = _data_of(next(iter(given.slots.values())).made if given.slots else None)
        if not is_batch:
            return node
        form = form_of(node)
        parts = result if isinstance(result, list | tuple) else ()
        tensors = [p for p in parts if isinstance(p, torch.Tensor) and p.ndim]
        many = f" of {tensors[0].shape[0]}" if tensors else ""
        if any(map(self._lineage.hidden, tensors)):
            many = ""
        return boundary(f"batch{many}{f' of {name}' if name else ''}", form)

    def results(self, node: Made, values: list[Any]) -> Iterator[Made]:
        """The node of each of several results; tensors without a place keep theirs."""
        for number, value in enumerate(values):
            own = node
            if len(values) > 1:
                own = made("python.Tuple.__getitem__", (Ref(0), number), {}, {0: node})
            for part in value if isinstance(value, list | tuple) else (value,):
                if isinstance(part, torch.Tensor):
                    self.keep(own, part)
            yield own


def _are_their_nodes(entries: Sequence[Owned | None]) -> bool:
    """Whether tensors are known by their nodes alone: always private, and never written to."""
    for entry in entries:
        if entry is None or entry.written is not None or entry.root or entry.tie is not None:
            return False
        if entry.label.kind is _PUBLIC:
            return False
    return True


_PUBLIC: Final = Kind.PUBLIC  # a member is looked up in Python
NORMS: Final = frozenset({"batch_norm", "instance_norm"})
"""They write running statistics in train mode."""


def _data_of(node: Made | None) -> tuple[bool, str]:
    """Whether an iterator goes over a loader, and the data set or object behind it, in words.

    A list of a loader and of other things is none.
    """
    for _ in range(8):
        if node is not None and node.op in _ITER:
            node = next(iter(node.inputs.values()), None)
    is_loader = node is not None and node.op == "torch.utils.data.DataLoader"
    for _ in range(6):
        if node is None or node.is_boundary:
            break
        if node.op.startswith("torchvision.datasets."):
            return is_loader, node.op.rpartition(".")[2]
        node = next(iter(node.inputs.values()), None)
    return is_loader, "" if node is None or not node.is_boundary else node.op
