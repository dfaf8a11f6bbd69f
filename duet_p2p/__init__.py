"""A data owner and a data scientist share one Python session, peer to peer.

    # owner                                  # scientist
    import duet_p2p as sy                    import duet_p2p as sy
    duet = sy.launch_duet()                  duet = sy.join_duet("SGX2-…")

Importing this package imports torch and puts `tag`, `describe` and `send` on its objects; every
other name loads when it is first used (PEP 562), so that the engine's process, which imports the
package too, never loads the network or pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from duet_p2p.methods import install_methods, remove_methods

if TYPE_CHECKING:
    from duet_p2p import aio, errors
    from duet_p2p.api import duet, get_root_data_path, join_duet, launch_duet, load, logger
    from duet_p2p.objects import python as _python
    from duet_p2p.objects.module import Module
    from duet_p2p.owner.duet import OwnerDuet
    from duet_p2p.scientist.duet import ScientistDuet

    lib = _python

__all__ = [
    "Module",
    "OwnerDuet",
    "ScientistDuet",
    "aio",
    "client_cache",
    "duet",
    "errors",
    "get_root_data_path",
    "install_methods",
    "join_duet",
    "launch_duet",
    "lib",
    "load",
    "logger",
    "remove_methods",
]

__version__: Final = "0.1.0"

client_cache: dict[str, Any] = {}
"""Kept for code written for the original, which stored its clients here."""

# Public name to (module, attribute); "" is the module itself.
_LAZY: Final = {
    "Module": ("duet_p2p.objects.module", "Module"),
    "OwnerDuet": ("duet_p2p.owner.duet", "OwnerDuet"),
    "ScientistDuet": ("duet_p2p.scientist.duet", "ScientistDuet"),
    "aio": ("duet_p2p.aio", ""),
    "duet": ("duet_p2p.api", "duet"),
    "errors": ("duet_p2p.errors", ""),
    "get_root_data_path": ("duet_p2p.api", "get_root_data_path"),
    "join_duet": ("duet_p2p.api", "join_duet"),
    "launch_duet": ("duet_p2p.api", "launch_duet"),
    "lib": ("duet_p2p.objects.lib", ""),
    "load": ("duet_p2p.api", "load"),
    "logger": ("duet_p2p.api", "logger"),
}


# Names of the original that have their place in the API and are not there yet.
_LATER: Final = frozenset({"ROOT_CLIENT", "SyModule", "SySequential", "make_plan"})


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from duet_p2p.errors import NotAllowed

        raise NotAllowed(f"duet_p2p.{name} is not in this version.")
    if name not in _LAZY:
        raise AttributeError(f"module 'duet_p2p' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


install_methods()
