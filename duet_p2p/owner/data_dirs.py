"""`duet.data`: the directories that remote data sets may read, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from duet_p2p.objects import cards
from duet_p2p.owner.request_view import Caller

__all__ = ["LATE_DIRECTORY", "DataDirs", "checked_dirs"]

LATE_DIRECTORY: Final = (
    "The engine's process can read no directories but those that it began with, and the scientist "
    "works in it already. Name all directories before the first command: launch_duet(data_dirs=…) "
    "or duet.data.register(…)."
)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class DataWork(Protocol):
    """What is done with them on the loop."""

    @property
    def data_dirs(self) -> Mapping[str, str]:
        """Names and directories that are in force."""
        ...

    async def configure(self, data_dirs: Mapping[str, str]) -> None:
        """Puts other ones in force."""
        ...


class DataDirs(Mapping[str, Path]):
    """Names and directories. A scientist reads data sets below them and nothing else."""

    def __init__(self, work: DataWork, caller: Caller) -> None:
        self._work = work
        self._caller = caller

    def register(self, name: str, directory: str | Path) -> None:
        """Lets remote data sets read a directory, under a name.

        Args:
            name: what the scientist writes as `root`, or before a slash: letters, digits, ``_.-``.
            directory: it must exist; links in it that lead outside are not followed.

        Raises:
            ValueError: a name that cannot be one.
            NotADirectoryError: there is no such directory.
            NotAllowed: the engine's process is closed off from files (Linux), and the scientist has
                made objects in it, so it cannot be started anew.
        """
        added = checked_dirs({name: directory})
        self._caller.wait_on(lambda: self._work.configure({**self._work.data_dirs, **added}))

    def __getitem__(self, name: str) -> Path:
        return Path(self._work.data_dirs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._work.data_dirs)

    def __len__(self) -> int:
        return len(self._work.data_dirs)

    def __repr__(self) -> str:
        lines = [f"{name or '(root)'}: {path}" for name, path in self.items()]
        return "\n".join(lines) or "No directories."

    def _repr_html_(self) -> str:
        rows = [(name or "(root)", str(path)) for name, path in self.items()]
        return cards.table("Data directories", ("name", "path"), rows, empty="No directories.")


def checked_dirs(data_dirs: Mapping[str, str | Path]) -> dict[str, str]:
    """Names and existing directories, absolute; the name "" is the root.

    Raises:
        ValueError: a name that cannot be one.
        NotADirectoryError: there is no such directory.
    """
    checked = {}
    for name, directory in data_dirs.items():
        if name and (not _NAME.fullmatch(name) or ".." in name):
            raise ValueError(f"{name!r} cannot be a name: letters, digits and _ . - are allowed")
        path = Path(directory).expanduser().resolve()
        if not path.is_dir():
            raise NotADirectoryError(f"{directory} is not a directory")
        checked[name] = str(path)
    return checked
