"""`make_plan` and `ROOT_CLIENT`: a function becomes a plan before there is any session.

The function runs once, here, on pointers of a client that is connected to nobody. Its default
arguments are the examples: each tensor of them becomes a placeholder of that shape, a module
becomes a remote module of placeholders. Both sides use it, since an owner may offer a plan.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NoReturn

import torch
from torch import nn

from duet_p2p.errors import NotAllowed, StepError, TensorTooLarge
from duet_p2p.objects.plan import Plan
from duet_p2p.objects.python import plain
from duet_p2p.objects.shell import Shell, make_shell, tensors_of
from duet_p2p.scientist.client import Client
from duet_p2p.scientist.knowledge import Known, known_of
from duet_p2p.scientist.namespaces import namespace
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.recording import Recording
from duet_p2p.scientist.trace import Given, Made, trace_of
from duet_p2p.surface import shapes
from duet_p2p.wire.messages import Message

__all__ = ["ROOT_CLIENT", "RootClient", "make_plan"]


class _Nobody:
    """Stands where session, outbox and bridge stand: there is nobody to send anything to."""

    on_message: Any = None
    on_settled: Any = None
    on_state: Any = None

    def __init__(self) -> None:
        self.outbox = self
        self.loop = self

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> None:
        """Nothing ever happens on a loop that does not exist."""

    def put(self, message: Message) -> NoReturn:
        """Nothing leaves."""
        raise StepError("ROOT_CLIENT works inside of a function with @sy.make_plan only.")

    def send_blob(self, buffers: Any, nbytes: int, progress: Any = None) -> NoReturn:
        """Nothing leaves."""
        raise TensorTooLarge(
            f"A plan uses a local tensor of {nbytes:,} bytes: give it as an argument instead."
        )


class RootClient:
    """The namespaces that code inside of a plan uses, as `duet` has them."""

    def __init__(self) -> None:
        nobody: Any = _Nobody()
        self._client = Client(nobody, nobody, session_id="plan")

    @property
    def torch(self) -> Any:
        """Torch, as far as the surface goes."""
        return namespace(self._client, "torch")

    @property
    def torchvision(self) -> Any:
        """Torchvision, as far as the surface goes."""
        return namespace(self._client, "torchvision")

    @property
    def python(self) -> Any:
        """Python's own types."""
        return namespace(self._client, "python")

    @property
    def syft(self) -> Any:
        """The original's long name: `syft.lib.python` is `python`."""
        return namespace(self._client, "syft")

    @property
    def lib(self) -> Any:
        """`lib.python` is `python`."""
        return namespace(self._client, "syft.lib")

    def __repr__(self) -> str:
        return "<ROOT_CLIENT: the recorder's namespaces, for functions with @sy.make_plan>"


ROOT_CLIENT: Final = RootClient()


def make_plan(function: Callable[..., Any]) -> Plan:
    """Records a function with its default arguments as examples.

        @sy.make_plan
        def train(x=torch.randn(10, 4), y=torch.randn(10, 1), model=local_model):
            …
            return [model]

    Args:
        function: each parameter has a default: a tensor, a module, or a plain value. Shapes are
            those of the examples; a call gives objects of the same ones.

    Returns:
        The plan: `tag`, `describe`, `send`.

    Raises:
        TypeError: a parameter has no default.
        StepError, NotAllowed: the function does what a plan cannot hold.
    """
    client = ROOT_CLIENT._client
    recording = Recording(client)
    arguments: list[Any] = []
    given: dict[str, Any] = {}
    with recording.running():
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is parameter.empty:
                raise TypeError(f"{name} of {function.__name__} needs a default, as an example")
            form, given[name] = _stand_in(recording, parameter.default)
            arguments.append([name, form])
        result = function(**given)
    trace = trace_of(recording, function.__name__, result)
    if trace.captured:
        raise NotAllowed(
            f"{function.__name__} uses {trace.captured[0]!r} from outside: a plan has arguments "
            f"only, so give it as one."
        )
    modules = {id(value): name for name, value in given.items() if isinstance(value, nn.Module)}
    return Plan(trace.plan, {"args": arguments, "result": _result(trace.form, modules)})


def _stand_in(recording: Recording, example: Any) -> tuple[Any, Any]:
    """The form of one argument, and what the function gets for it."""
    if isinstance(example, Pointer | Shell):
        raise NotAllowed("an example is a local object, no pointer")
    if isinstance(example, nn.Module):
        pointers: dict[int, Any] = {}
        positions = []
        for name, tensor in tensors_of(example).items():
            kind = "torch.nn.Parameter" if isinstance(tensor, nn.Parameter) else "torch.Tensor"
            pointer = recording.stand_in(Known(kind, shapes.spec_of(tensor)))
            pointers[id(tensor)] = pointer
            positions.append([name, len(recording.placeholders) - 1])
        shell = make_shell(recording.client, example, pointers)
        return ["m", type(example).__name__, positions], shell
    if not isinstance(example, torch.Tensor):
        example = plain(example)
    known = known_of(example)
    if isinstance(example, list | tuple | dict):
        known = Known(known.type, None, None, len(example))
    return ["p", known.type, len(recording.placeholders)], recording.stand_in(known)


def _result(form: Any, modules: dict[int, str]) -> Any:
    """A form of this side as a closed value."""
    if isinstance(form, Made):
        spec = form.spec
        shape = None if spec is None else list(spec.shape)
        dtype = None if spec is None else str(spec.dtype).removeprefix("torch.")
        return ["o", form.output, form.type, shape, dtype, form.length]
    if isinstance(form, Given):
        return ["i", form.position]
    if isinstance(form, nn.Module):
        if id(form) not in modules:
            raise NotAllowed("a plan returns pointers, and modules that it was given")
        return ["m", modules[id(form)]]
    if isinstance(form, list | tuple):
        parts = [_result(part, modules) for part in form]
        return ["l" if type(form) is list else "t", parts]
    if isinstance(form, dict | OrderedDict):
        return ["d", [[key, _result(part, modules)] for key, part in form.items()]]
    if form is None or isinstance(form, bool | int | float | str):
        return ["v", form]
    raise NotAllowed(f"a plan cannot return a {type(form).__name__}")
