"""What the engine's process may not do, whatever a hole in torch makes it try.

Memory: a limit on private memory (``RLIMIT_DATA``), above what Python and torch take themselves.
The address space (``RLIMIT_AS``) would be the wrong measure: torch maps 3.6 GB of it and uses a
fifth. An allocation beyond the limit fails as an ordinary error of that operation.

Calls to the kernel, on Linux on x86-64 and ARM64: a seccomp filter refuses new sockets, other
programs, other processes' memory, and signals to other processes. It needs no privileges. The
socket pair to the owner's process, threads and files still work; files are landlock.py's business.

Processor time: ``RLIMIT_CPU``, where the owner sets one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from pathlib import Path
from typing import Final

from duet_p2p.engine.reserve import RESERVE
from duet_p2p.limits import ENGINE_RESERVE_BYTES, ENGINE_STACK_BYTES

__all__ = ["close_off", "limit_cpu", "limit_memory", "memory_of_machine", "widen_stack"]

_DEFAULT_SHARE: Final = 0.75  # of the machine's memory

# From linux/audit.h, linux/seccomp.h, linux/filter.h and the kernel's tables of system calls.
_ARCHITECTURES: Final[dict[str, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED: Final[dict[str, tuple[int, ...]]] = {
    # socket, fork, vfork, execve, execveat, ptrace, process_vm_readv, process_vm_writev,
    # io_uring_setup, pidfd_getfd, pidfd_send_signal, unshare, setns, tkill, bpf, userfaultfd
    "x86_64": (41, 57, 58, 59, 322, 101, 310, 311, 425, 438, 424, 272, 308, 200, 321, 323),
    "aarch64": (198, 221, 281, 117, 270, 271, 425, 438, 424, 97, 268, 130, 280, 282),
}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_KILLS: Final = {"x86_64": (62, 234), "aarch64": (129, 131)}  # kill, tgkill
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_X32_BIT: Final = 0x40000000
_CLONE_THREAD: Final = 0x10000
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_EPERM: Final = 1
_ENOSYS: Final = 38
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_HAS_BITS: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NR_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data, little-endian
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC: torch has started some


def limit_memory(nbytes: int) -> None:
    """Private memory from now on.

    Args:
        nbytes: beyond what this process has now; 0: three quarters of the machine's. A little more
            is there for what the engine does around operations, see reserve.py.
    """
    if sys.platform != "linux":
        return
    nbytes = nbytes or int(_DEFAULT_SHARE * memory_of_machine())
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + nbytes
    whole, hard = limit + ENGINE_RESERVE_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        limit, whole = min(limit, hard), min(whole, hard)
    RESERVE.keep(limit, whole)


def widen_stack() -> None:
    """Lets the stack of this process grow further: graphs are given back by recursion.

    Since torch 2.14 a node that Python has seen is deleted by the node above it, within the call
    that deletes that, and 8 MiB are used up by 45,000 of them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY:
        most = ENGINE_STACK_BYTES if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_STACK, (max(soft, min(ENGINE_STACK_BYTES, most)), hard))


def limit_cpu(seconds: int) -> None:
    """Processor time of this process from now on, all threads together; 0: no limit.

    The kernel ends the process with SIGXCPU at its end, and with SIGKILL a second later.
    """
    if not seconds:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, min(soft + 1, hard) if hard > 0 else soft + 1))


def memory_of_machine() -> int:
    """Bytes of memory that this process could have: the machine's, or its container's."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def close_off() -> bool:
    """Installs the filter; False where the platform has none, which is said on stderr.

    Call it after everything is imported, in a process of one's own: it cannot be undone.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        print("the engine is not closed off on this platform", file=sys.stderr)
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and (
        libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _ALL_THREADS, head) == 0
    ):
        return True
    print(f"the engine is not closed off: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    return False


def _program(machine: str) -> list[bytes]:
    """The filter: straight down, each check jumps over its own return."""
    refuse = _one(_RETURN, _ERRNO | _EPERM)
    code = [
        _one(_LOAD, _ARCH_AT),
        _one(_EQUAL, _ARCHITECTURES[machine], 1, 0),
        refuse,
        _one(_LOAD, _NR_AT),
        _one(_AT_LEAST, _X32_BIT, 0, 1),  # another table of numbers
        refuse,
    ]
    for number in _REFUSED[machine]:
        code += [_one(_EQUAL, number, 0, 1), refuse]
    # glibc asks for clone3 first and takes clone without it, whose flags can be looked at
    code += [_one(_EQUAL, _CLONE3, 0, 1), _one(_RETURN, _ERRNO | _ENOSYS)]
    for number in _KILLS[machine]:  # of this process only, as abort() does
        code += [
            _one(_EQUAL, number, 0, 4),
            _one(_LOAD, _FIRST_ARGUMENT_AT),
            _one(_EQUAL, os.getpid(), 1, 0),
            refuse,
            _one(_RETURN, _ALLOW),
        ]
    code += [
        _one(_EQUAL, _CLONE[machine], 0, 3),
        _one(_LOAD, _FIRST_ARGUMENT_AT),
        _one(_HAS_BITS, _CLONE_THREAD, 1, 0),
        refuse,
        _one(_RETURN, _ALLOW),
    ]
    return code


def _one(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
