"""Operations that change more than their result: what is labelled besides it.

`before` runs before the call and joins what the call will put into stateful objects, so that a
call that fails half way has left no unlabelled traces; `after` labels what it made.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

import torch
from torch.distributions import Distribution
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine import axes, rates
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import Records, is_random_transform
from duet_p2p.engine.choice import mark_graphs, mark_set, tie_held
from duet_p2p.engine.clips import CLIPS, clipped_by, label_clipped
from duet_p2p.engine.dataset_sources import DatasetSources
from duet_p2p.engine.drawing import drawn_by, draws_by_values, is_random
from duet_p2p.engine.gradients import (
    Gradients,
    chosen_of,
    gradient_of,
    is_hidden_way,
    keeps_graph,
    leaves_of,
    met_by,
    reached_by,
)
from duet_p2p.engine.groups import (
    after_scheduler,
    before_group,
    before_optimizer,
    before_scheduler,
    copied_lengths,
    grown,
    hide_held,
    takes_up,
)
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.holding import parameters_of
from duet_p2p.engine.labels import (
    PUBLIC,
    UNBOUNDED,
    Kind,
    Label,
    join,
    to_model,
    to_per_record,
    written_by,
)
from duet_p2p.engine.lineage import Lineage, Owned, reach
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.ties import perhaps_behind
from duet_p2p.engine.training import Training, count_step, note_step

__all__ = ["READERS", "Effects", "label_apart"]

_STEPS: Final = frozenset(
    {"step", "load_state_dict", "add_param_group", "follow", "zero_grad", "feed"}
)


class Effects:
    """The stateful part of lineage: graphs, optimizers, sources, random state."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._gradients = Gradients(lineage)
        self._datasets = DatasetSources()
        self._records = UNBOUNDED  # behind the gradients of the last backward
        self.writers: frozenset[str] = frozenset()
        """What the command that runs leaves in labels of what it trains."""

    @property
    def dataset_names(self) -> dict[int, str]:
        """Source id to the name of a data set read from the owner's directories."""
        return self._datasets.names

    # what a call writes to besides its arguments

    def targets(self, name: str, given: Arguments) -> list[torch.Tensor]:
        """Tensors that the call may write to, other than arguments listed in the table."""
        first = given.args[0] if given.args else None
        short = name.rpartition(".")[2]
        if name == "torch.Tensor.backward" and isinstance(first, torch.Tensor):
            given.graph = reached_by(first)
            reached = [*given.graph[0], *given.tensors()]
            return [grad for tensor in reached if (grad := gradient_of(tensor)) is not None]
        if short in _STEPS and _is_stepper(first):
            return [p for p in given.with_grads() if isinstance(p, torch.Tensor)]
        if name.startswith("torch.optim.") and short[:1].isupper():
            return given.tensors()  # refused at once, not only at the first step
        if short in ("embedding", "embedding_bag") and (
            given.kwargs.get("max_norm") is not None
            or len(given.args) > 3
            or any(slot.value is None for slot in given.slots.values())  # which may be private
        ):
            return [t for t in given.tensors() if t.is_floating_point()]
        return []

    def left_out(self, name: str, given: Arguments, label: Label) -> None:
        """A call did not run, or not to its end: how many random numbers it drew is as private."""
        lineage = self._lineage
        is_chosen = is_private(drawn_by(name, given, lineage))
        if (is_chosen or draws_by_values(name, given, lineage)) and is_private(label):
            lineage.generator = join((lineage.generator, to_per_record(label)))

    def behind(self, name: str, given: Arguments) -> list[Label]:
        """What else decides if a call fails: its graph may be used up or broken, as is private."""
        lineage = self._lineage
        if name not in ("torch.Tensor.backward", "torch.autograd.grad"):
            return []
        roots = [tensor for tensor in given.tensors() if tensor.requires_grad]
        leaves = [leaf for leaf in leaves_of(roots) if lineage.is_chosen(leaf)]
        return [*map(lineage.label, leaves), *chosen_of(roots, lineage)]

    def extra(self, name: str, given: Arguments) -> Label:
        """Of what takes part in a call beside its arguments: random state, kept statistics."""
        if name == "torch.autograd.grad":
            kept: list[torch.Tensor] = []
            roots = [t for t in given.tensors() if t.requires_grad]
            leaves_of(roots, kept)
            looked_at = [self._lineage.label(tensor) for tensor in kept]
            perhaps = self._perhaps_met(given, roots) if self._lineage.ties else []
            return met_by(PUBLIC, looked_at + chosen_of(roots, self._lineage) + perhaps)
        if name in CLIPS:  # whether a gradient is finite can make it fail
            return join(map(self._lineage.label, clipped_by(given)))
        return self._lineage.generator if is_random(name) else PUBLIC

    def _perhaps_met(self, given: Arguments, roots: list[torch.Tensor]) -> list[Label]:
        """If what gradients are asked of may have another graph: what `behind` then looks at."""
        lineage = self._lineage
        found = perhaps_behind((given.all(lineage),), lineage)
        leaves = [leaf for leaf in leaves_of(roots) if lineage.is_chosen(leaf)] if found else []
        return [*(part.label for part in found), *map(lineage.label, leaves)]

    # before

    def before(self, name: str, given: Arguments) -> None:
        """Join labels into what the call will change, whether it fails or not."""
        lineage = self._lineage
        first = given.args[0] if given.args else None
        short = name.rpartition(".")[2]
        if name == "torch.Tensor.grad=":  # before what is set hides the tensor
            mark_set(given, lineage)
        if name == "torch.Tensor.backward":
            self._gradients.before(given, self.writers)
            if keeps_graph(given):
                every = given.all(lineage)
                by = every if is_hidden_way(given, lineage) else PUBLIC
                mark_graphs(*self._gradients.bound(given), lineage, every, by)
            self._records = given.all(lineage).min_records
        elif short in _STEPS and _is_stepper(first):
            self._before_step(first, short, given)
        elif name.startswith("torch.optim.lr_scheduler.") and short[:1].isupper():
            before_scheduler(given, lineage)
        elif name.startswith("torch.optim.") and short[:1].isupper():
            before_optimizer(given, lineage)
        elif name == "torch.Tensor.retain_grad" and isinstance(first, torch.Tensor):
            self._gradients.retain(first)
        elif name == "torch.manual_seed":
            self.seed(given)
        elif name in CLIPS:
            for grad in clipped_by(given):  # which are other numbers from now on
                lineage.written(grad)
        elif isinstance(first, torch.Tensor) and name.startswith("torch.Tensor.requires_grad"):
            flags = [lineage.whole(value) for value in given.values()[1:]]
            flag = join([_besides(first, given), *flags])
            if is_private(flag):
                lineage.add(first, to_per_record(flag), hidden=True)
        elif name.endswith("=") and isinstance(first, torch.Tensor):
            beside = _besides(first, given)
            if is_private(beside):
                lineage.add(first, to_per_record(beside), hidden=True)
            if name == "torch.Tensor.data=" and any(map(lineage.hidden, given.tensors())):
                lineage.hide(first)
        if is_random(name):
            self._before_random(name, given)
        elif is_private(drawn := drawn_by(name, given, lineage)):
            every = to_per_record(join((drawn, given.all(lineage))))
            lineage.generator = join((lineage.generator, every))

    def seed(self, given: Arguments) -> None:
        """The scientist sets a seed, which may be missing, or be refused."""
        lineage, every = self._lineage, given.all(self._lineage)
        lineage.generator = join((lineage.generator, every))  # until it is set
        is_told = not is_private(every)  # a form may not depend on private values
        texts = [lineage.seeds, *map(repr, given.values() if is_told else ())]
        lineage.seeds = sha256("\0".join(texts).encode()).hexdigest()

    def _before_random(self, name: str, given: Arguments) -> None:
        """How many numbers are drawn may depend on values; then all later ones do."""
        lineage = self._lineage
        short = name.rpartition(".")[2]
        if not draws_by_values(name, given, lineage):
            return
        if short in ("next", "iter", "__next__", "random_split"):
            parts = [part for value in given.args for part in reach(value)]
            shapes = [e.structure for p in parts if (e := lineage.find(p))]
            tensors = [p for p in parts if isinstance(p, torch.Tensor)]
            shapes += [lineage.label(t) for t in tensors if lineage.hidden(t)]
            shapes += [slot.label for slot in given.slots.values() if slot.is_loose]
            if short == "random_split":  # lengths that do not fit fail before it draws
                shapes.append(given.settings(lineage))
            if not is_private(join(shapes)):
                return
        every = given.all(lineage)
        if is_private(every):
            lineage.generator = join((lineage.generator, to_per_record(every)))

    def _before_step(self, stepper: Any, short: str, given: Arguments) -> None:
        lineage = self._lineage
        if short != "zero_grad":
            rates.before_step(stepper, short, given, lineage)
        parts = given.with_grads()
        tensors = [p for p in parts if isinstance(p, torch.Tensor)]
        if short == "zero_grad":
            for optimizer in (p for p in parts if isinstance(p, Optimizer)):
                for parameter in parameters_of(optimizer):
                    if (grad := held_gradient(parameter)) is not None:
                        lineage.written(grad)
            return
        entries = [given.owned(tensor, lineage) or lineage.own(tensor) for tensor in tensors]
        labels = [entry.label for entry in entries]
        for entry in entries:
            entry.version += 1
        every = to_model(join([given.beside(lineage), *labels, *grown(given, lineage)]))
        every = written_by(every, self.writers)
        if is_private(every):
            for tensor, entry in zip(tensors, entries, strict=True):
                entry.label = every
                entry.in_graph = entry.in_graph or _leaves_graph(stepper) or is_joined(tensor)
        for part in parts:
            if not isinstance(part, (torch.Tensor, tuple)) and not every.is_public:
                tracked = lineage.track(part)
                tracked.content = every
                tracked.version += 1
        if is_private(every) and takes_up(stepper, short, given, lineage):
            before_group(given, every, lineage)

    # after

    def after(self, name: str, given: Arguments, result: Any, written: Iterable[Any]) -> None:
        """Label what the call made or changed besides its result."""
        first, lineage = given.args[0] if given.args else None, self._lineage
        short = name.rpartition(".")[2]
        if name == "torch.Tensor.backward":
            self._gradients.after()
        elif name == "torch.Tensor.grad" and isinstance(result, torch.Tensor):
            self._gradients.read(given.args[0], result)
        elif name == "torch.Tensor.grad=" and isinstance(first, torch.Tensor):
            tie_held(first, given.args[1], lineage)
        elif short in _STEPS and _is_stepper(first) and short != "zero_grad":
            self._after_step(first, short, given)
            if short == "step":
                self.note(first)
            rates.after_step(first, short, given, lineage)
        elif short in ("state_dict", "get_last_lr") and _is_stepper(first):
            rates.copied(first, result, lineage)
        elif isinstance(result, LRScheduler):
            after_scheduler(given, result, lineage)
            rates.made(result, given, lineage)
        elif name.startswith("torch.distributions.") and isinstance(result, Distribution):
            self._new_distribution(given, result)
        elif name == "torch.manual_seed" and not is_private(every := given.all(self._lineage)):
            self._lineage.generator = every  # a private one may be refused: then all stays
        elif name.startswith("torchvision.datasets."):
            self._new_source(given, result)
        elif axes.base_name(name) in ("batch_norm", "instance_norm"):
            self._buffers(given, written)

    def fresh_leaves(self, root: torch.Tensor) -> list[torch.Tensor] | None:
        """See `Gradients.fresh`."""
        return self._gradients.fresh(root)

    def enter_backward(
        self, leaves: list[torch.Tensor], loss: Label, writers: frozenset[str]
    ) -> None:
        """A backward through a graph with these `fresh_leaves` is about to run."""
        self.writers, self._records = writers, loss.min_records
        self._gradients.enter(leaves, loss, writers)

    def leave_backward(
        self, leaves: list[torch.Tensor], loss: Label, writers: frozenset[str]
    ) -> dict[int, Owned]:
        """`enter_backward`, of one that has run by now, and `after` it; see `Gradients.leave`."""
        self.writers, self._records = writers, loss.min_records
        return self._gradients.leave(leaves, loss, writers)

    def note_again(self, training: Training, optimizer: Any) -> None:
        """`note`, where all that the step wrote has this training."""
        count_step(training, optimizer, self._records)

    def note(self, optimizer: Any) -> None:
        """It made a step, with the gradients of the last backward."""
        note_step(optimizer, self._records, self._lineage)

    def _after_step(self, stepper: Any, short: str, given: Arguments) -> None:
        """What it holds now has the label that it got before, and may be hidden."""
        lineage, held, hidden = self._lineage, given.held_by_first(), []
        entry = lineage.find(stepper)
        content = entry.content if entry is not None and is_private(entry.content) else None
        for part in held:
            if isinstance(part, torch.Tensor):
                owned = lineage.entry(part) if content is None else lineage.own(part)
                if owned is not None:
                    owned.label = owned.label if content is None else content
                    owned.in_graph = owned.in_graph or (is_joined(part) and content is not None)
                if (owned is not None and owned.hidden) or lineage.is_hidden_view(part):
                    hidden.append(part)
            elif content is not None and not isinstance(part, tuple):
                lineage.track(part).content = content
        grads = given.with_grads()[len(held) :]  # they follow behind what is held
        hidden += [g for g in grads if isinstance(g, torch.Tensor) and lineage.hidden(g)]
        hide_held(stepper, held, hidden, lineage)
        if short == "load_state_dict":
            copied_lengths(given, lineage)

    def abandon(self) -> None:
        """The call failed; gradients that it made all the same are labelled."""
        self._gradients.after()

    def left_half(self, name: str, given: Arguments) -> None:
        """The call failed; what it made until then of states and settings is labelled as well."""
        self.abandon()
        first, short = given.args[0] if given.args else None, name.rpartition(".")[2]
        if not given.is_plain():
            given.forget()
        if short in _STEPS and _is_stepper(first) and short != "zero_grad":
            self._after_step(first, short, given)
        elif name.startswith("torch.optim.lr_scheduler.") and short[:1].isupper():
            after_scheduler(given, None, self._lineage)

    def retained(self) -> list[torch.Tensor]:
        """Living tensors that `retain_grad` was called on."""
        return self._gradients.retained()

    def _new_distribution(self, given: Arguments, distribution: Any) -> None:
        """Its parameters are often new tensors (``probs`` divided by their sum)."""
        every = given.all(self._lineage)
        if is_private(every):
            entry = self._lineage.track(distribution)
            entry.origin = tuple(given.values())  # as a form looks at one that is missing
            entry.content = join((entry.content, to_per_record(every) if every.is_data else every))

    def _new_source(self, given: Arguments, dataset: Any) -> None:
        """A data set read from the owner's directories is a private source like a shared object."""
        is_injected = any(map(is_random_transform, reach(dataset)))
        beside = given.beside(self._lineage)
        label = Label(Kind.VERBATIM, self._datasets.of(dataset), frozenset(), 1, is_injected)
        entry = self._lineage.track(dataset)
        entry.content = join((label, beside))
        entry.origin = Records(label, is_injected) if not is_private(beside) else None

    def _buffers(self, given: Arguments, written: Iterable[Any]) -> None:
        """Running statistics of a train-mode forward: means over the batch's records."""
        lineage = self._lineage
        source = given.args[0] if given.args else given.kwargs.get("input")
        if not isinstance(source, torch.Tensor):
            return
        every = given.all(lineage)
        rows = lineage.rows(source)
        every = written_by(every, self.writers)
        buffers = [b for b in written if isinstance(b, torch.Tensor) and b is not source]
        # with momentum=0 what was there is all that stays
        before = [lineage.label(buffer) for buffer in buffers]
        if rows is not None and rows.axis == 0 and not any(label.is_data for label in before):
            least = min(rows.records, rows.floor, *(label.min_records for label in before))
            every = Label(Kind.MODEL, every.sources, frozenset(), least, every.injected,
                          every.writers, every.dropout)  # fmt: skip
        else:
            every = to_model(every)
        for buffer in buffers if is_private(every) else ():
            lineage.own(buffer).label = every


PARTS: Final = frozenset({"torch.optim.Optimizer.param_groups", "torch.optim.Optimizer.defaults"})
"""They give a part of their object itself."""
READERS: Final = PARTS | {
    "torch.optim.Optimizer.state_dict", "torch.optim.lr_scheduler.LRScheduler.state_dict",
    "torch.optim.lr_scheduler.LRScheduler.get_last_lr",
    "torch.optim.lr_scheduler.LRScheduler.last_epoch",
}  # fmt: skip
"""They look at no value that lies in their object, so what failed may lie there."""
TOLD: Final = frozenset({
    "torch.optim.lr_scheduler.LRScheduler.get_last_lr",
    "torch.optim.lr_scheduler.LRScheduler.last_epoch",
})  # fmt: skip
"""They give new numbers of a scheduler, and nothing that it holds."""
_STATE: Final = "torch.optim.Optimizer.state_dict"
"""It gives new dicts with the optimizer's own ones, and its own tensors, in them."""


def label_apart(
    name: str,
    given: Arguments,
    result: Any,
    lineage: Lineage,
    writers: frozenset[str] = frozenset(),
) -> bool:
    """Labels what the rules for results do not fit; whether this was such a name."""
    if name in PARTS:
        label_parts(given.args[0], result, lineage)
    elif name == _STATE:
        label_state(given, result, lineage)
    elif name in CLIPS:
        label_clipped(given, result, lineage, writers)
        return given.has_public_facts(lineage)  # else one of them may be missing, or is hidden
    elif name in TOLD:
        return rates.are_told(given, result, lineage)
    elif name == "torch.utils.data.random_split":
        label_split(given, result, lineage)
    else:
        return False
    return True


def label_split(given: Arguments, subsets: list[Any], lineage: Lineage) -> None:
    """Parts of a data set, as any other data set that is made of one.

    How long they are follows from the lengths that were given; which records are in them, also from
    the state of the generator.
    """
    chosen = given.settings(lineage)
    every = join((given.beside(lineage), chosen, to_per_record(lineage.generator)))
    sizes = join([lineage.label(t) for t in given.tensors() if lineage.hidden(t)])
    if is_private(sizes):  # lengths that do not fit it give none
        lineage.track(subsets).structure = to_per_record(sizes)
    if not is_private(every):
        return
    for part in (subsets, *subsets):
        tracked = lineage.track(part)
        tracked.content = join((tracked.content, every))
        if is_private(chosen):  # if it fails, nobody knows of what
            tracked.structure = join((tracked.structure, to_per_record(every)))


def label_parts(holder: Any, result: Any, lineage: Lineage) -> None:
    """Tensors and containers that an object holds carry labels; the rest is its content."""
    entry = lineage.find(holder)
    if entry is None or not is_private(entry.content):
        return
    for part in reach(result):
        if not isinstance(part, torch.Tensor | tuple):
            tracked = lineage.track(part)
            tracked.content = join((tracked.content, entry.content))
            tracked.structure = join((tracked.structure, entry.structure))


def label_state(given: Arguments, state: dict[str, Any], lineage: Lineage) -> None:
    """An optimizer's own tensors and dicts keep their labels; new ones have copies of all it holds.

    Groups are copied, and a tensor that was sparse.
    """
    held = given.held_by_first()
    own = {id(part) for part in held}
    entries = [
        e
        for part in held
        if not isinstance(part, torch.Tensor | tuple) and (e := lineage.find(part))
    ]
    content = join(entry.content for entry in entries)
    structure = join(entry.structure for entry in entries)
    for part in reach(state):
        if id(part) in own or isinstance(part, tuple):
            continue
        if isinstance(part, torch.Tensor):
            every = to_model(lineage.whole(given.args[0]))
            if is_private(every):
                lineage.own(part).label = every
        elif is_private(content) or is_private(structure):
            tracked = lineage.track(part)
            tracked.content = join((tracked.content, content))
            tracked.structure = join((tracked.structure, structure))


def _besides(first: torch.Tensor, given: Arguments) -> Label:
    """Of the objects beside the first one: a hidden view does not hide its own base."""
    return join([slot.label for slot in given.slots.values() if slot.value is not first])


def _leaves_graph(stepper: Any) -> bool:
    """Whether a step is a part of the graph behind what it moves, and its gradients are, too."""
    return bool(getattr(stepper, "defaults", {}).get("differentiable", False))


def _is_stepper(value: Any) -> bool:
    return isinstance(value, Optimizer | LRScheduler)
