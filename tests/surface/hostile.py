"""Every name of the surface with hostile numbers in its arguments.

``python -m tests.surface.hostile FOLDER [all]``: a process of its own, since what is looked for is
its death. First the conformance suites' samples run through pointers, and a command or two of each
name that worked is kept; names that no sample reaches get the usual forms of arguments. Then each
kept command is run with one whole number, or one tensor or list of whole numbers, replaced, in an
engine, past every check that a scientist's side makes.

That is done twice, in two children whose memory, where nothing was written, holds other bytes.
FOLDER gets a file of each with a line for each command before it runs, and what came of it after. A
child that dies is replaced by one that goes on after the command that killed it. With ``all`` more
samples are kept, which takes an hour.
"""

from __future__ import annotations

import copy
import ctypes
import hashlib
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils._pytree import tree_flatten, tree_map

from duet_p2p.engine.engine import Engine
from duet_p2p.engine.executor import Executor
from duet_p2p.engine.messages import Configure
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["DIED", "FILLS", "SLOW", "Collection", "Kept", "collected", "main"]

NUMBERS: Final = (-7, 5_000_000, 2_000_000_000)
"""Beside the sizes of the first tensor, where an index is one too large."""
FORMS: Final = (
    "1", "11", "2", "f1", "f01", "f10", "fi", "f0i", "f0if", "f0ix", "if", "i1", "ffi", "c1", "c2",
    "ff1",
)  # fmt: skip
"""What stands where: numbers, pairs, and tensors of floats, whole numbers, four dimensions."""
REFUSED_FORMS: Final = ("1", "f1", "fi")
SAMPLES: Final = 2
"""Of each entry of the databases."""
KEPT: Final = 2
"""Commands of one name: those with the most whole numbers, each with others in other places."""
PLACES: Final = 8
"""Numbers of one command that are replaced."""
FILLS: Final = (85, 170)
"""For `mallopt(M_PERTURB)`: what fresh and freed memory is filled with."""
M_PERTURB: Final = -6
FIRST_ID: Final = 1 << 40
MEMORY: Final = 8 << 30
RESULT_BYTES: Final = 1 << 26
SECONDS: Final = 3.0
"""Of the processor, for one command; the owner's side would stop the engine later than that."""
WHOLE: Final = (torch.int64, torch.int32)
SLOW, DIED = "SLOW", "DIED"


@dataclass(frozen=True)
class Kept:
    """A command and the values that its references stand for."""

    op: Op
    values: dict[int, Any]

    def leaves(self) -> list[Any]:
        """Its arguments in order, references resolved."""
        leaves = tree_flatten((self.op.args, self.op.kwargs))[0]
        return [self.values.get(leaf.id) if isinstance(leaf, Ref) else leaf for leaf in leaves]

    def places(self) -> tuple[int, ...]:
        """Which of its arguments are, or hold, whole numbers."""
        return tuple(place for place, value in enumerate(self.leaves()) if _is_whole(value))


def _is_whole(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype in WHOLE and value.layout is torch.strided and value.numel() > 0
    if isinstance(value, list):
        return bool(value) and all(type(item) is int for item in value)
    return type(value) is int


class Collection:
    """The commands that the suites' samples were, by their names."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._found: dict[str, dict[Any, Kept]] = {}
        self._run = Executor.run_safely

    @contextmanager
    def listening(self) -> Iterator[None]:
        """What any engine of this process runs is looked at."""
        Executor.run_safely = lambda executor, *args: self.run(executor, *args)  # type: ignore[method-assign]
        try:
            yield
        finally:
            Executor.run_safely = self._run  # type: ignore[method-assign]

    def run(self, executor: Executor, seq: int, op: Op, call: Any = None) -> Any:
        """In place of `Executor.run_safely`."""
        command = Kept(op, dict(_values(executor._store, op)))
        found = self._found.setdefault(op.name, {})
        key = (command.places(), tuple(sorted(op.kwargs)))
        is_new = key not in found
        if is_new:
            command = Kept(op, {id: _copied(value) for id, value in command.values.items()})
        failed = self._run(executor, seq, op, call)
        if is_new and failed is None:
            found[key] = command
        return failed

    def commands(self) -> Iterator[Kept]:
        """What is kept, and the usual forms for names of which no number was replaced."""
        for name in sorted(TABLE):
            found = [c for c in self._found.get(name, {}).values() if c.places()]
            found.sort(key=lambda command: -len(command.places()))
            yield from found[: self._kept] or _usual_forms(name, self._kept)

    def of(self, name: str) -> list[Kept]:
        """Commands of this name that worked, or its usual forms."""
        return [*self._found.get(name, {}).values()] or _usual_forms(name, self._kept)


def _values(store: Store, op: Op) -> Iterator[tuple[int, Any]]:
    for leaf in tree_flatten((op.args, op.kwargs))[0]:
        slot = store.find(leaf.id) if isinstance(leaf, Ref) else None
        if slot is not None and not isinstance(slot.value, Poison):
            yield leaf.id, slot.value


def _copied(value: Any) -> Any:
    with suppress(Exception), torch.no_grad():
        return copy.deepcopy(value)
    return value  # an iterator, which there is one of


def _usual_forms(name: str, kept: int) -> list[Kept]:
    """The forms that this name takes; a few that it refuses, if it takes none."""
    trial = Trial(os.open(os.devnull, os.O_WRONLY))
    forms = list(_forms(name))
    found = [form for form in forms if trial.works(form)]
    return found[:kept] or [forms[FORMS.index(form)] for form in REFUSED_FORMS]


def _forms(name: str) -> Iterator[Kept]:
    values: dict[int, Any] = {
        1: torch.arange(24.0).reshape(4, 6),
        2: torch.arange(48.0).reshape(1, 2, 4, 6),
        3: torch.tensor([0, 1, 2, 1]),
    }
    letters = {"f": Ref(1), "c": Ref(2), "i": Ref(3), "0": 0, "1": 1, "2": (2, 2), "x": 0.5}
    for form in FORMS:
        yield Kept(Op(name, (9,), tuple(letters[letter] for letter in form), {}, "g"), values)


class Trial:
    """Runs what is kept in an engine, one number replaced at a time, and writes down what came."""

    def __init__(self, log: int) -> None:
        self._log = log
        engine = Engine()
        engine.handle(Configure({"result_bytes": RESULT_BYTES}, {}, None))
        assert engine._executor is not None
        self._executor, self._store = engine._executor, engine.store
        self._next = FIRST_ID

    def run(self, commands: list[Kept], done: int) -> None:
        """Everything but the first `done` tries."""
        number = 0
        for command in commands:
            for place, what, hostile in self._replaced(command):
                number += 1
                if number > done:
                    self._try(command, place, hostile, f"{command.op.name} {place}:{what}")

    def works(self, command: Kept) -> bool:
        """Whether it does what it does without any hostile number."""
        return self._try(command, -1, None, command.op.name)

    @staticmethod
    def _replaced(command: Kept) -> Iterator[tuple[int, str, Any]]:
        leaves = command.leaves()
        first = next((value for value in leaves if isinstance(value, torch.Tensor)), None)
        sizes = [0, 1] if first is None else sorted({*first.shape[:1], first.numel()})
        for place in command.places()[:PLACES]:
            for number in (*NUMBERS, *sizes):
                for index, hostile in enumerate(_hostile(leaves[place], number)):
                    yield place, f"{number}:{index}", hostile

    def _try(self, command: Kept, place: int, hostile: Any, what: str) -> bool:
        op, store = command.op, self._store
        made: list[int] = []
        known: dict[int, Ref] = {}
        count = 0
        is_pure = TABLE[op.name].form != "inplace"

        def swap(leaf: Any) -> Any:
            nonlocal count
            count += 1
            is_reference = isinstance(leaf, Ref)
            if count - 1 != place:
                if not is_reference:
                    return leaf
                if leaf.id not in known:  # given twice, it is one object
                    known[leaf.id] = self._put(_leaf(command.values.get(leaf.id), is_pure), made)
                return known[leaf.id]
            return self._put(hostile, made) if is_reference else hostile

        args, kwargs = tree_map(swap, (op.args, op.kwargs))
        outs = tuple(self._id() for _ in op.outs)
        os.write(self._log, f"{what} ".encode())
        torch.manual_seed(1)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        failed = self._executor.run_safely(0, Op(op.name, outs, args, kwargs, op.mode))
        if failed is not None:
            came = f"{failed.code}"
        else:
            values = [slot.value for id in outs if (slot := store.find(id)) is not None]
            came = f"{_digest(values)} {self._gradients(values, made)}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(self._log, f"{came}\n".encode())
        store.drop((*made, *outs))
        return failed is None

    def _put(self, value: Any, made: list[int]) -> Ref:
        made.append(self._id())
        self._store.put(made[-1], Slot(value))
        return Ref(made[-1])

    def _gradients(self, values: list[Any], made: list[int]) -> str:
        """What backward of such a result does, which may use the numbers again."""
        total = [
            out.sum() for out in tree_flatten(values)[0]
            if isinstance(out, torch.Tensor) and out.requires_grad and out.is_floating_point()
            and out.layout is torch.strided
        ]  # fmt: skip
        if not total:
            return "-"
        try:
            sum(total).backward()
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            return type(error).__name__
        inputs = [self._store.get(id).value for id in made]
        return _digest([i.grad for i in inputs if isinstance(i, torch.Tensor) and i.is_leaf])

    def _id(self) -> int:
        self._next += 1
        return self._next


def _hostile(value: Any, number: int) -> Iterator[Any]:
    if isinstance(value, list):
        yield [number] * len(value)
        return
    if not isinstance(value, torch.Tensor):
        yield number
        return
    if not torch.iinfo(value.dtype).min <= number <= torch.iinfo(value.dtype).max:
        return
    yield torch.full_like(value, number)
    if value.numel() > 1:
        changed = value.detach().clone()
        changed.view(-1)[-1] = number
        yield changed


def _leaf(value: Any, is_pure: bool) -> Any:
    value = _copied(value)
    if is_pure and isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().requires_grad_()
    return value


def _digest(values: list[Any]) -> str:
    digest = hashlib.sha256()
    for value in tree_flatten(values)[0]:
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or not 0 < value.numel() <= 1 << 22:
                digest.update(f"{value.layout} {value.shape}".encode())
                continue
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().resolve_conj().resolve_neg()
            if plain.dtype in (torch.bfloat16, torch.float16):
                plain = plain.float()
            digest.update(plain.numpy().tobytes())
        elif isinstance(value, (int, float, complex, str, bool)):
            digest.update(repr(value).encode())
        else:
            digest.update(type(value).__name__.encode())
    return digest.hexdigest()[:12]


def _original_forms() -> dict[str, Any]:
    """Arguments that the original's operations take, by trying some; before there is an engine.

    A call of `torch.bernoulli` that fails waits for Python's lock while it has that of the random
    generator (2.14), and a thread that asks for the generator's state does so the other way round.
    """
    from tests.surface import original_calls, test_original

    forms = {}
    for name in test_original.OPERATIONS:
        with suppress(Exception):
            forms[name] = original_calls.arguments_of(name)
    return forms


def _samples(both: Any, count: int, forms: dict[str, Any]) -> None:
    """What the conformance suites run, a sample or two of each."""
    from tests.surface import original_calls, test_module_db, test_op_db, test_original
    from tests.surface.original_python import python_case

    duet = both.scientist
    for entry, op in {**test_op_db.ENTRIES, **test_op_db.INTEGER}.items():
        dtype = torch.int64 if entry in test_op_db.INTEGER else torch.float32
        with suppress(Exception):
            test_op_db.compare(both, op, count, dtype=dtype)
    for info in test_module_db.INFOS.values():
        with suppress(Exception):
            test_module_db.compare(both, info, True, 1)
    for name, form in forms.items():
        with suppress(Exception):
            original_calls.remote_call(duet, name, form())
    pair = type("Pair", (), {"duet": duet})
    for name in test_original.PYTHON:
        _, type_name, short = name.split(".")
        with suppress(Exception):
            case = python_case(type_name, short)
            case.call(case.remote(pair), short)
    duet._client.settle(
        duet._client.emit(Op("torch.zeros", (duet._client.new_id(),), (1,), {}, "g"))
    )


def collected(kept: int = KEPT, count: int = SAMPLES) -> Collection:
    """What the suites' samples are, so many of each entry of the databases."""
    from tests.surface.joined import joined

    collection, forms = Collection(kept), _original_forms()
    with joined(limits={"result_bytes": RESULT_BYTES}) as both, collection.listening():
        both.owner.requests.add_handler(action="accept")
        _samples(both, count, forms)
    return collection


def _one_memory(commands: list[Kept], path: Path, fill: int) -> None:
    """All tries with memory filled so, in as many children as it takes; ends the process."""
    log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    ctypes.CDLL(None).mallopt(M_PERTURB, fill)
    unwritten = torch.empty(1 << 12, dtype=torch.uint8)
    os.write(log, f"MEMORY {unwritten.unique().tolist()}\n".encode())
    done = 0
    while True:
        child = os.fork()
        if child == 0:
            Trial(log).run(commands, done)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        is_slow = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
        os.write(log, f"{SLOW if is_slow else f'{DIED} {status}'}\n".encode())
        done = len(path.read_text().splitlines()) - 1
    names = {command.op.name for command in commands}
    os.write(log, f"ALL {len(TABLE.keys() - names)}\n".encode())
    os._exit(0)


def main(folder: str, extent: str) -> None:
    """Write what came of every try to a file for each of the two memories.

    Args:
        folder: for the files.
        extent: ``names``, or ``all`` for many samples of each.
    """
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    collection = collected(20, 50) if extent == "all" else collected(KEPT, SAMPLES)
    commands = list(collection.commands())
    children = []
    for fill in FILLS:
        child = os.fork()
        if child == 0:
            _one_memory(commands, Path(folder) / str(fill), fill)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(int(any(codes)))


if __name__ == "__main__":
    main(*sys.argv[1:])
