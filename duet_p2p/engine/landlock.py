"""Files that the engine's process may open, whatever a hole in torch makes it try (Linux).

Landlock (Linux 5.13 and later) lets a process without privileges give up access to files for good,
for itself and the threads that it starts later, which is why this is called before torch is loaded.
Nothing may be written to. With ``limits={"closed_reads": 1}`` read may be only what Python and
torch are loaded from, what they ask about the machine, and the data directories of the start: what
was given up never comes back, so a directory that is registered later needs another engine. What
was open before stays open: the socket pair, the page of watch.py, standard output.

Where the kernel has no Landlock nothing happens, and the process can open what its user can.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["close_files", "version"]

# From linux/landlock.h; these system calls have one number on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_READ: Final = _READ_FILE | _READ_DIR
_RIGHTS: Final = ((1, 13), (2, 14), (3, 15))
"""From which version on how many rights are known. That to control devices (version 5) stays: a
GPU needs it, and a device must be opened first."""
_PR_SET_NO_NEW_PRIVS: Final = 38

_SYSTEM: Final = (
    "/usr", "/lib", "/lib64", "/opt", "/nix/store", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/sys", "/proc/driver/nvidia", "/sys/devices",
    "/sys/fs/cgroup", "/sys/module", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
_DEVICES: Final = ("/dev/null", "/dev/nvidia*", "/dev/dri")
_PACKAGES: Final = ("duet_p2p", "torch", "torchvision", "numpy", "msgpack", "PIL")


def version() -> int:
    """Landlock's version in this kernel; 0: there is none."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)))


def close_files(data_dirs: Iterable[str] | None) -> bool:
    """Gives up writing files, and reading any but those of Python, torch and these directories.

    Args:
        data_dirs: what else may be read; None: everything.

    Returns:
        Whether that was done. It cannot be undone.
    """
    known = version()
    if not known:
        return False
    rights = (1 << max(bits for since, bits in _RIGHTS if since <= known)) - 1
    if data_dirs is None:
        rights &= ~_READ
    tempfile.gettempdir()  # kept: later it could not be tried, and parts of torch ask its name
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(struct.pack("=Q", rights), 8)
    ruleset = int(libc.syscall(_CREATE_RULESET, attributes, 8, 0))
    if ruleset < 0:
        return False
    try:
        if data_dirs is not None:
            for path in {*_readable(), *data_dirs}:
                _allow(libc, ruleset, path, _READ)
        for pattern in _DEVICES:
            for path in glob.glob(pattern):
                _allow(libc, ruleset, path, rights & (_READ | _WRITE_FILE))
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return int(libc.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """A path that is not there, or not to be opened, stays closed."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE | _WRITE_FILE
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd), 12)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def _readable() -> Iterator[str]:
    yield from _SYSTEM
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix)
    # with -m the first entry is where the owner works: their files, not Python's
    theirs = {Path.cwd(), Path.home(), Path("/")}
    for entry in sys.path:
        if entry and Path(entry).resolve() not in theirs:
            yield entry
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        yield from (found.submodule_search_locations or ()) if found else ()
