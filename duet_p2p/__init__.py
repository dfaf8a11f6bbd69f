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
    from duet_p2p.api import duet, get_root_data_path, join_duet, launch_duet, load
    from duet_p2p.log_sinks import logger
    from duet_p2p.objects import python as _python
    from duet_p2p.objects.module import Module
    from duet_p2p.objects.symodule import SyModule, SySequential
    from duet_p2p.owner.duet import OwnerDuet
    from duet_p2p.scientist.duet import ScientistDuet
    from duet_p2p.scientist.plan_builder import ROOT_CLIENT, make_plan

    lib = _python

__all__ = [
    "ROOT_CLIENT",
    "Module",
    "OwnerDuet",
    "ScientistDuet",
    "SyModule",
    "SySequential",
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
    "make_plan",
    "remove_methods",
]

__version__: Final = "0.1.0"

client_cache: dict[str, Any] = {}
"""Kept for code written for the original, which stored its clients here."""

# Public name to (module, attribute); "" is the module itself.
_LAZY: Final = {
    "Module": ("duet_p2p.objects.module", "Module"),
    "OwnerDuet": ("duet_p2p.owner.duet", "OwnerDuet"),
    "ROOT_CLIENT": ("duet_p2p.scientist.plan_builder", "ROOT_CLIENT"),
    "ScientistDuet": ("duet_p2p.scientist.duet", "ScientistDuet"),
    "SyModule": ("duet_p2p.objects.symodule", "SyModule"),
    "SySequential": ("duet_p2p.objects.symodule", "SySequential"),
    "aio": ("duet_p2p.aio", ""),
    "duet": ("duet_p2p.api", "duet"),
    "errors": ("duet_p2p.errors", ""),
    "get_root_data_path": ("duet_p2p.api", "get_root_data_path"),
    "join_duet": ("duet_p2p.api", "join_duet"),
    "launch_duet": ("duet_p2p.api", "launch_duet"),
    "lib": ("duet_p2p.objects.lib", ""),
    "load": ("duet_p2p.api", "load"),
    "make_plan": ("duet_p2p.scientist.plan_builder", "make_plan"),
    "logger": ("duet_p2p.log_sinks", "logger"),
}


def __getattr__(name: str) -> Any:
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
