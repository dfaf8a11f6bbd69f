"""Tags and descriptions of local torch objects, kept beside them and never inside them.

A note written into the tensor (an attribute) would travel with `torch.save`, `deepcopy` and
results. A plain dict by `id()` would outlive the tensor and then describe another one. So: a weak
map by identity, which torch keeps right even where the Python object of a tensor is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["NO_NOTE", "Noted", "describe", "description_of", "object_key", "tag", "tags_of"]


@dataclass(frozen=True, slots=True)
class Noted:
    """What a person wrote about an object before sending it."""

    tags: tuple[str, ...] = ()
    description: str = ""


NO_NOTE: Final = Noted()

_notes: MutableMapping[torch.Tensor, Noted] = WeakTensorKeyDictionary()


def checked_tags(tags: tuple[Any, ...]) -> tuple[str, ...]:
    """The tags without repetition, in order.

    Raises:
        TypeError: one of them is not text.
    """
    for item in tags:
        if not isinstance(item, str):
            raise TypeError(f"a tag is text, not {type(item).__name__}")
    return tuple(dict.fromkeys(tags))


def tag(x: torch.Tensor, *tags: str) -> torch.Tensor:
    """Sets the tags of a local tensor, in place, and returns the same tensor."""
    _notes[x] = replace(_notes.get(x, NO_NOTE), tags=checked_tags(tags))
    return x


def describe(x: torch.Tensor, description: str) -> torch.Tensor:
    """Sets the description of a local tensor, in place, and returns the same tensor."""
    if not isinstance(description, str):
        raise TypeError(f"a description is text, not {type(description).__name__}")
    _notes[x] = replace(_notes.get(x, NO_NOTE), description=description)
    return x


def _note_of(x: object) -> Noted:
    if isinstance(x, torch.Tensor):
        return _notes.get(x, NO_NOTE)
    # wrappers of sy.lib.python carry their note themselves: int and tuple take no weak reference
    note = getattr(x, "_note", NO_NOTE)
    return note if isinstance(note, Noted) else NO_NOTE


def tags_of(x: object) -> tuple[str, ...]:
    """The tags of a local object, () if nobody gave it any."""
    return _note_of(x).tags


def description_of(x: object) -> str:
    """The description of a local object, "" if nobody gave it one."""
    return _note_of(x).description


def object_key(session_id: str, object_id: int) -> str:
    """The id of a remote object as people see it, on both sides.

    Args:
        session_id: the owner's ID of this session.
        object_id: the integer of the wire.

    Returns:
        32 hex digits; the same for the same object in the same session, unrelated otherwise.
    """
    text = f"{session_id}/{object_id}".encode()
    return hashlib.blake2s(text, digest_size=16, person=b"duetobj").hexdigest()
