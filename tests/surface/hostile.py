"""Every operation of the conformance suites once more, with hostile numbers in its arguments.

``python -m tests.surface.hostile FILE``: a process of its own, since what is looked for is its
death. While the suites' samples run through pointers, each command that the engine gets is first
run with one whole number, or one tensor of whole numbers, replaced, past every check that a
scientist's side makes. Names that no sample reaches get the usual forms of arguments instead. FILE
gets a line for each such command before it runs and what came of it after; where memory that was
never written is read, the lines of two values of ``MALLOC_PERTURB_`` differ.
"""

from __future__ import annotations

import copy
import faulthandler
import hashlib
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch
from torch.utils._pytree import tree_flatten, tree_map

from duet_p2p.engine.executor import Executor
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

__all__ = ["NUMBERS", "main"]

NUMBERS: Final = (-7, 5_000_000, 2_000_000_000)
"""Beside the sizes of the first tensor, where an index is one too large."""
SAMPLES: Final = 2
"""Of each entry of the databases."""
FORMS: Final = (
    "1", "11", "2", "f1", "f01", "f10", "fi", "f0i", "f0if", "f0ix", "if", "i1", "ffi", "c1", "c2",
    "ff1",
)  # fmt: skip
"""What stands where: numbers, pairs, and tensors of floats, whole numbers, four dimensions."""
PLACES: Final = 8
"""Numbers of one command that are replaced."""
FIRST_ID: Final = 1 << 40
MEMORY: Final = 8 << 30
SECONDS: Final = 60
"""One command; longer ones have gone astray."""
WHOLE: Final = (torch.int64, torch.int32)


class Hostile:
    """Goes before the executor's own work."""

    def __init__(self, log: int) -> None:
        self._log = log
        self._run = Executor.run_safely
        self._seen: set[tuple[str, tuple[int, ...]]] = set()
        self._next = FIRST_ID
        self._is_busy = False

    @property
    def names(self) -> set[str]:
        """What was tried with some number."""
        return {name for name, places in self._seen if places}

    def run(self, executor: Executor, seq: int, op: Op, call: Any = None) -> Any:
        """In place of `Executor.run_safely`."""
        if not self._is_busy:
            self._is_busy = True
            try:
                self.try_all(executor, op)
            except BaseException:  # this program is at fault, and says so
                traceback.print_exc()
                os._exit(3)
            self._is_busy = False
        return self._run(executor, seq, op, call)

    def try_all(self, executor: Executor, op: Op) -> None:
        """The command with each of its numbers replaced by each hostile one."""
        store = executor._store
        leaves = [self._value(store, leaf) for leaf in tree_flatten((op.args, op.kwargs))[0]]
        places = tuple(place for place, value in enumerate(leaves) if self._is_whole(value))
        if (op.name, places) in self._seen:
            return
        self._seen.add((op.name, places))
        first = next((value for value in leaves if isinstance(value, torch.Tensor)), None)
        sizes = (0, 1) if first is None else tuple({*first.shape[:1], first.numel()})
        for place in places[:PLACES]:
            value = leaves[place]
            for number in NUMBERS + sizes:
                for index, hostile in enumerate(self._replaced(value, number)):
                    self._try(executor, op, place, hostile, f"{place}:{number}:{index}")

    @staticmethod
    def _value(store: Store, leaf: Any) -> Any:
        slot = store.find(leaf.id) if isinstance(leaf, Ref) else None
        return leaf if slot is None else slot.value

    @staticmethod
    def _is_whole(value: Any) -> bool:
        if isinstance(value, torch.Tensor):
            return value.dtype in WHOLE and value.layout is torch.strided and value.numel() > 0
        return type(value) is int

    @staticmethod
    def _replaced(value: Any, number: int) -> Iterator[Any]:
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

    def _try(self, executor: Executor, op: Op, place: int, hostile: Any, what: str) -> None:
        store = executor._store
        made: list[int] = []
        leaves: list[Any] = []
        is_pure = TABLE[op.name].form != "inplace" if op.name in TABLE else False

        def swap(leaf: Any) -> Any:
            leaves.append(leaf)
            value = hostile if len(leaves) - 1 == place else None
            slot = store.find(leaf.id) if isinstance(leaf, Ref) else None
            if slot is not None and value is None and not isinstance(slot.value, Poison):
                with suppress(Exception), torch.no_grad():
                    value = copy.deepcopy(slot.value)
                if isinstance(value, torch.Tensor) and is_pure and value.is_floating_point():
                    value = value.detach().requires_grad_()
            if value is None or (type(value) is int and slot is None):
                return leaf if value is None else value
            made.append(self._id())
            store.put(made[-1], Slot(value))
            return Ref(made[-1])

        args, kwargs = tree_map(swap, (op.args, op.kwargs))
        outs = tuple(self._id() for _ in op.outs)
        self._write(f"{op.name} {what} ")
        torch.manual_seed(1)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        failed = self._run(executor, 0, Op(op.name, outs, args, kwargs, op.mode))
        if failed is not None:
            came = f"{failed.code}"
        else:
            values = [slot.value for id in outs if (slot := store.find(id)) is not None]
            came = f"{self._digest(values)} {self._gradients(store, values, made)}"
        faulthandler.cancel_dump_traceback_later()
        self._write(came + "\n")
        store.drop((*made, *outs))

    def _gradients(self, store: Store, values: list[Any], made: list[int]) -> str:
        """What backward of such a result does, which may use the numbers again."""
        total = [
            out.sum() for out in values
            if isinstance(out, torch.Tensor) and out.requires_grad and out.is_floating_point()
            and out.layout is torch.strided
        ]  # fmt: skip
        if not total:
            return "-"
        try:
            sum(total).backward()
        except (RuntimeError, NotImplementedError) as error:
            return type(error).__name__
        return self._digest(
            [store.get(id).value.grad for id in made
             if isinstance(store.get(id).value, torch.Tensor) and store.get(id).value.is_leaf]
        )  # fmt: skip

    def _digest(self, values: list[Any]) -> str:
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

    def _id(self) -> int:
        self._next += 1
        return self._next

    def _write(self, text: str) -> None:
        os.write(self._log, text.encode())


@contextmanager
def _hostile(log: int) -> Iterator[Hostile]:
    hostile = Hostile(log)
    Executor.run_safely = lambda self, seq, op, call=None: hostile.run(self, seq, op, call)  # type: ignore[method-assign]
    try:
        yield hostile
    finally:
        Executor.run_safely = hostile._run  # type: ignore[method-assign]


def _samples(both: Any) -> None:
    """What the conformance suites run, a sample or two of each."""
    from tests.surface import original_calls, test_module_db, test_op_db, test_original
    from tests.surface.original_python import python_case

    duet = both.scientist
    for entry, op in {**test_op_db.ENTRIES, **test_op_db.INTEGER}.items():
        dtype = torch.int64 if entry in test_op_db.INTEGER else torch.float32
        with suppress(Exception):
            test_op_db.compare(both, op, SAMPLES, dtype=dtype)
    for info in test_module_db.INFOS.values():
        with suppress(Exception):
            test_module_db.compare(both, info, True, 1)
    for name in test_original.OPERATIONS:
        with suppress(Exception):
            original_calls.remote_call(duet, name, original_calls.arguments_of(name)())
    pair = type("Pair", (), {"duet": duet})
    for name in test_original.PYTHON:
        _, type_name, short = name.split(".")
        with suppress(Exception):
            case = python_case(type_name, short)
            case.call(case.remote(pair), short)
    duet._client.settle(
        duet._client.emit(Op("torch.zeros", (duet._client.new_id(),), (1,), {}, "g"))
    )


def _usual_forms(executor: Executor, hostile: Hostile) -> None:
    """Names that no sample reached: numbers and tensors in the usual places."""
    store = executor._store
    tensors = {
        "f": torch.arange(24.0).reshape(4, 6),
        "c": torch.arange(48.0).reshape(1, 2, 4, 6),
        "i": torch.tensor([0, 1, 2, 1]),
    }
    refs: dict[str, Any] = {}
    for place, (letter, tensor) in enumerate(tensors.items(), 1):
        store.put((1 << 39) + place, Slot(tensor))
        refs[letter] = Ref((1 << 39) + place)
    refs |= {"0": 0, "1": 1, "2": (2, 2), "x": 0.5}
    for name in sorted(TABLE.keys() - hostile.names):
        for form in FORMS:
            op = Op(name, ((1 << 39) + 100,), tuple(refs[letter] for letter in form), {}, "g")
            hostile.try_all(executor, op)


def main(path: str) -> None:
    """Write what came of every try to a file."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    from tests.surface.joined import joined

    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with joined(limits={"result_bytes": 1 << 26}) as both, _hostile(log) as hostile:
        both.owner.requests.add_handler(action="accept")
        _samples(both)
        executor = both.engine._executor
        assert executor is not None
        _usual_forms(executor, hostile)
        os.write(log, f"ALL {len(TABLE.keys() - hostile.names)}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
