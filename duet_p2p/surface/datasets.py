"""Data sets of the owner's files: the MNIST family, read from registered directories only.

``root`` is a name of the session's ``data_dirs`` or a path below one. Whatever is wrong with it (an
unknown name, ``..``, a link that leads outside, a missing file) gives one and the same error, so
that nobody learns what exists on the owner's disk. ``download=True`` only checks that the files are
there. A directory may hold the four files themselves or torchvision's own layout below it
(``MNIST/raw``), compressed or not.

The classes are our own: torchvision's need their own layout and a written copy of unpacked files.
Items and transforms are the same: a PIL image in mode ``L`` goes into the transform.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.surface.context import Context
from duet_p2p.surface.idx import read_idx
from duet_p2p.surface.transforms import batch_steps, is_transform

__all__ = ["DATASETS", "KMNIST", "MNIST", "Digits", "FashionMNIST", "resolve_root"]

_NOT_FOUND: Final = (
    "no such data set: root is a name that the owner registered, or a path below one, "
    "and must hold the files"
)
_SPLITS: Final = {True: "train", False: "t10k"}


def _not_found() -> FileNotFoundError:
    return FileNotFoundError(_NOT_FOUND)


def resolve_root(context: Context, root: Any) -> Path:
    """The directory that a root stands for.

    Raises:
        FileNotFoundError: it is not one of the owner's directories or below one; always the same
            text.
    """
    if not isinstance(root, str) or "\\" in root or "\0" in root or root.startswith("/"):
        raise _not_found()
    parts = PurePosixPath(root).parts if root not in ("", ".") else ()
    if any(part in (".", "..") or ":" in part for part in parts):
        raise _not_found()
    if parts and parts[0] in context.data_dirs:
        base, below = context.data_dirs[parts[0]], parts[1:]
    elif "" in context.data_dirs:
        base, below = context.data_dirs[""], parts
    else:
        raise _not_found()
    try:
        inside = Path(base).resolve(strict=True)
        found = inside.joinpath(*below).resolve(strict=True)
    except (OSError, RuntimeError):
        raise _not_found() from None
    if not found.is_relative_to(inside) or not found.is_dir():
        raise _not_found()
    return found


def _file(directory: Path, name: str, folders: tuple[str, ...]) -> Path:
    for folder in folders:
        for suffix in ("", ".gz"):
            path = directory / folder / f"{name}{suffix}"
            try:
                found = path.resolve(strict=True)
            except (OSError, RuntimeError):
                continue
            if found.is_file() and found.is_relative_to(directory):
                return path
    raise _not_found()


def _place(context: Context, directory: Path) -> str:
    """What the owner calls a directory: the name of one of theirs, and the way below it."""
    for name, base in context.data_dirs.items():
        try:
            inside = Path(base).resolve()
        except (OSError, RuntimeError):  # another one of the owner's, which is a loop of links
            continue
        if directory.is_relative_to(inside):
            return "/".join([name, *directory.relative_to(inside).parts]).lstrip("/")
    return ""


class _Cache:
    """Read files, so that a second data set of the same files costs nothing. Never written to."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Any, ...], tuple[torch.Tensor, str]] = OrderedDict()

    def read(self, path: Path, max_bytes: int) -> tuple[torch.Tensor, str]:
        """The content of a file, and a hash of it."""
        stat = path.stat()
        key = (path.resolve(), stat.st_mtime_ns, stat.st_size)
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                tensor = read_idx(path, max_bytes)
                found = tensor, blake2b(tensor.numpy().data, digest_size=16).hexdigest()
            self._kept[key] = found
            while len(self._kept) > 2 * limits.DATASET_CACHE:
                self._kept.popitem(last=False)
        return found


_CACHE: Final = _Cache()


class Digits(torch.utils.data.Dataset[Any]):
    """Images of one size with a label each, from two IDX files.

    Attributes:
        transform: what each image goes through, or None.
        place: the owner's name of the directory and the path below it, whatever root was given.
        identity: what tells these files from others: the directory that they lie in, and hashes of
            both. It says nothing of the root and the class that they were asked for by.
    """

    surface_type = "torch.utils.data.Dataset"
    folder = ""

    def __init__(
        self,
        context: Context,
        root: Any,
        train: Any = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: None = None,
        download: Any = False,
    ) -> None:
        if target_transform is not None:
            raise TypeError("target_transform is not offered")
        if transform is not None and not is_transform(transform):
            raise TypeError("transform is one of torchvision.transforms")
        directory = resolve_root(context, root)
        split = _SPLITS[bool(train)]
        folders = ("", "raw", f"{self.folder}/raw", self.folder)
        try:
            files = [
                _file(directory, name, folders)
                for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
            ]
            read = [_CACHE.read(file, context.quotas.dataset_bytes) for file in files]
            within = files[0].resolve(strict=True).parent
        except OSError:
            raise _not_found() from None
        # tensors of its own: what a session notes on them is of no other data set
        self._images, self._labels = (tensor.detach() for tensor, _ in read)
        self.place = _place(context, within)
        self.identity = (str(within), *(code for _, code in read))
        if self._images.dim() != 3 or self._labels.shape != self._images.shape[:1]:
            raise ValueError("images and labels do not fit each other")
        self.train = bool(train)
        self.transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> tuple[Any, int]:
        if not isinstance(index, int) or not -len(self) <= index < len(self):
            raise IndexError(f"an index is out of range of {len(self)} images")
        from PIL import Image

        image: Any = Image.fromarray(self._images[index].numpy())
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self._labels[index])

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, int]]:
        """Several items at once, as torch's loader asks for a batch."""
        steps = batch_steps(self.transform)
        if steps is None or not all(0 <= index < len(self) for index in indices):
            return [self[index] for index in indices]
        chosen = torch.tensor(indices)
        images = self._images[chosen].unsqueeze(1).to(torch.get_default_dtype()).div(255)
        for step in steps:
            images = step(images)
        return list(zip(images, self._labels[chosen].tolist(), strict=True))


class MNIST(Digits):
    """Handwritten digits (LeCun, Cortes): 60,000 and 10,000 images of 28 by 28."""

    surface_type = "torchvision.datasets.MNIST"
    folder = "MNIST"


class FashionMNIST(Digits):
    """Pieces of clothing (Xiao, Rasul, Vollgraf), in the same format."""

    surface_type = "torchvision.datasets.FashionMNIST"
    folder = "FashionMNIST"


class KMNIST(Digits):
    """Hiragana characters (Clanuwat and others), in the same format."""

    surface_type = "torchvision.datasets.KMNIST"
    folder = "KMNIST"


DATASETS: Final[dict[str, Callable[..., Any]]] = {
    "torchvision.datasets.MNIST": MNIST,
    "torchvision.datasets.FashionMNIST": FashionMNIST,
    "torchvision.datasets.KMNIST": KMNIST,
}
"""Constructors; all take the session's `Context` first."""
