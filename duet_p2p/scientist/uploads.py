"""Values that go to the owner's side: what a person sends, and small tensors met as arguments.

One `Put` carries any number of values; their bytes are inline while they are few and one blob
otherwise, shared storages once. A local tensor among the arguments of an operation goes the same
way without being asked for, once per unchanged tensor, up to a limit: a program that uploads a
large tensor in every step by accident should learn of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from duet_p2p.errors import NotAllowed, TensorTooLarge
from duet_p2p.limits import (
    AUTO_UPLOAD_BYTES,
    COPY_MEANWHILE_BYTES,
    INLINE_TENSOR_BYTES,
    UPLOAD_IN_PLACE_BYTES,
)
from duet_p2p.objects.notes import checked_tags, description_of, tags_of
from duet_p2p.objects.python import plain
from duet_p2p.scientist.copying import Copy
from duet_p2p.scientist.pointer import make
from duet_p2p.scientist.progress import transfer_bar
from duet_p2p.surface import types, values
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.wire.messages import Put
from duet_p2p.wire.values import Blob

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["Uploads"]

_TENSORS_PER_PUT = 256
"""Keeps the header of a large model within one message."""


class Uploads:
    """What this session has uploaded by itself, and how anything is uploaded."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: MutableMapping[torch.Tensor, tuple[int, Any]] = _weak_map()

    def forget_all(self) -> None:
        """The owner's engine restarted: nothing that was uploaded is there."""
        self._known = _weak_map()

    def automatic(self, tensor: torch.Tensor) -> Any:
        """A tensor argument: inline bytes, or the pointer of its upload.

        Raises:
            TensorTooLarge: it must be sent on purpose.
        """
        nbytes = tensor.numel() * tensor.element_size()
        if not tensor.is_leaf:
            tensor = tensor.detach()  # its gradient could not come back
        if nbytes < INLINE_TENSOR_BYTES:
            return values.to_wire(tensor, None, INLINE_TENSOR_BYTES)
        if nbytes >= AUTO_UPLOAD_BYTES:
            raise TensorTooLarge(
                f"A local tensor of shape {tuple(tensor.shape)} ({nbytes:,} bytes) is among the "
                f"arguments. Above {AUTO_UPLOAD_BYTES:,} bytes nothing is uploaded by itself: use "
                f"x = x.send(duet), once, outside of the loop."
            )
        if tensor.is_inference():  # no version counter to compare
            return self.put_tensors([tensor])[0]
        version, pointer = self._known.get(tensor, (0, None))
        if pointer is None or version != tensor._version:
            pointer = self.put_tensors([tensor])[0]
            self._known[tensor] = (tensor._version, pointer)
        return pointer

    def put_tensors(
        self, tensors: Sequence[torch.Tensor], *, parameters: bool = False
    ) -> list[Any]:
        """Uploads tensors, unlisted; the same tensor twice gives the same pointer twice."""
        distinct = list({id(tensor): tensor for tensor in tensors}.values())
        made: dict[int, Any] = {}
        for start in range(0, len(distinct), _TENSORS_PER_PUT):
            part = distinct[start : start + _TENSORS_PER_PUT]
            wire, blob, copy = self._encode(tuple(_carried(tensor) for tensor in part))
            pointers = [self._of_tensor(tensor, parameters) for tensor in part]
            idents = tuple(pointer._id for pointer in pointers)
            with self._leaving(blob, copy):
                self._client.emit(Put(idents, tuple(wire), blob))
            made.update((id(tensor), p) for tensor, p in zip(part, pointers, strict=True))
        return [made[id(tensor)] for tensor in tensors]

    def send(
        self,
        value: Any,
        *,
        tags: Sequence[str] | None = None,
        description: str = "",
        listed: bool = True,
    ) -> Any:
        """Uploads one value that a person sends, with its note.

        Raises:
            NotAllowed: values of this type do not travel.
        """
        noted = checked_tags(tuple(tags)) if tags is not None else tags_of(value)
        description = description or description_of(value)
        value = plain(value)
        wire, blob, copy = self._encode(value)
        pointer = self._pointer(value, noted)
        with self._leaving(blob, copy):
            pointer._seq = self._client.emit(
                Put((pointer._id,), (wire,), blob, noted, description, listed)
            )
        more = pointer._extra()
        more.description, more.listed, more.kept = description, listed, listed
        return pointer

    def _pointer(self, value: Any, noted: tuple[str, ...]) -> Any:
        from duet_p2p.scientist.knowledge import known_of

        if isinstance(value, torch.Tensor):
            return self._of_tensor(value, False, noted)
        known = known_of(value)
        return make(
            self._client,
            self._client.new_id(),
            known.type,
            tags=noted,
            items=known.items,
            length=known.length,
        )

    def _of_tensor(
        self, tensor: torch.Tensor, parameters: bool, noted: tuple[str, ...] = ()
    ) -> Any:
        is_parameter = parameters and isinstance(tensor, torch.nn.Parameter)
        kind = "torch.nn.Parameter" if is_parameter else "torch.Tensor"
        spec = TensorSpec(tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
        return make(self._client, self._client.new_id(), kind, tags=noted, spec=spec)

    def _encode(self, value: Any) -> tuple[Any, Blob | None, Copy | None]:
        if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
            raise NotAllowed(
                f"a {type(value).__module__.partition('.')[0]} {type(value).__name__} cannot be "
                f"sent in this version: make a tensor of it, torch.as_tensor(…)"
            )
        try:
            packed = values.pack(value)
            if packed.nbytes < INLINE_TENSOR_BYTES:
                return values.to_wire(value, None, INLINE_TENSOR_BYTES), None, None
        except (TypeError, ValueError) as error:
            raise NotAllowed(
                f"a value of type {types.type_name_of(value)} ({type(value).__qualname__}) cannot "
                f"be sent: {error}"
            ) from error
        sources: list[memoryview | Copy] = [*packed.buffers]
        copy = None
        if not self._waits_for(packed.nbytes):
            # The bytes leave later, and the tensor is the scientist's to change meanwhile.
            copy = Copy(packed.buffers)
            sources = [copy]
            if packed.nbytes < COPY_MEANWHILE_BYTES:
                copy.fill()
        bar = transfer_bar(self._client, "sending", packed.nbytes)
        transfer = self._client.session.outbox.send_blob(sources, packed.nbytes, bar)
        return packed.value, Blob(transfer, packed.nbytes), copy

    # A large tensor is sent from where it is: a copy would take as much memory again. So nothing
    # of the scientist's may run until it is over there.

    def _waits_for(self, nbytes: int) -> bool:
        return nbytes >= UPLOAD_IN_PLACE_BYTES and not self._client.is_on_loop()

    @contextlib.contextmanager
    def _leaving(self, blob: Blob | None, copy: Copy | None) -> Iterator[None]:
        """Around the command that declares it; what it needs of the value is had at the end."""
        leaving = None
        if blob is not None and copy is None:
            leaving = self._client.session.outbox.delivered(blob.transfer)
        try:
            yield
        except BaseException:
            if copy is not None:
                copy.give_up()
            raise
        if copy is not None:
            copy.fill()
        if leaving is not None:
            self._client.wait(leaving, None)


def _weak_map() -> MutableMapping[torch.Tensor, tuple[int, Any]]:
    return WeakTensorKeyDictionary()


def _carried(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)
