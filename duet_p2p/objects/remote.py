"""What local objects need to know of the scientist's client, which is of a higher rank.

Modules live in `objects` because both sides hold them, but a remote one must run operations. So
this file names the few calls that it makes; the scientist's client fulfils the protocol, and its
pointers derive from `Remote` so that anybody can tell them from tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ModuleClient", "Remote", "RemoteNamespace"]


class Remote:
    """Base of every pointer: a stand-in for an object on the owner's side."""

    __slots__ = ()


@runtime_checkable
class RemoteNamespace(Protocol):
    """`duet.torch`, as a module's `torch_ref` sees it."""

    @property
    def _client(self) -> ModuleClient: ...


class ModuleClient(Protocol):
    """What a remote module asks of its session."""

    @property
    def torch(self) -> Any:
        """The namespace that a remote module has as `torch_ref`."""

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Runs one name of the surface on the owner's side and gives a pointer."""

    def put_many(self, tensors: Sequence[Tensor], *, parameters: bool = False) -> list[Any]:
        """Uploads tensors in one transfer; one pointer each, the same one for the same tensor."""

    def follow(self, before: Sequence[Any], after: Sequence[Any]) -> None:
        """Optimizers that hold tensors of `before` go on with those of `after`."""

    def collect(self, pointers: Sequence[Any]) -> Any:
        """One list on the owner's side that holds these objects."""

    def fetch_state(
        self, state: Mapping[str, Any], meanwhile: Callable[[], None], options: Mapping[str, Any]
    ) -> Any:
        """Asks for a state dict with one request of kind ``model``; None if it was not allowed.

        `meanwhile` may be called while the answer is waited for.
        """
