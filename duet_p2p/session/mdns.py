"""Browsers hide local addresses behind mDNS names; Python has to look them up itself.

An answer comes from anybody on the local network, so it passes the same address rules as a
candidate that was written out.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aioice import mdns

from duet_p2p import limits
from duet_p2p.protocol.description import Candidate, Description
from duet_p2p.protocol.sdp import is_mdns_name, is_usable_address

__all__ = ["resolve_names"]


async def resolve_names(description: Description, *, loopback: bool) -> Description:
    """The description with addresses in place of mDNS names; what does not resolve is left out."""
    names = [c.address for c in description.candidates if is_mdns_name(c.address)]
    wanted = list(dict.fromkeys(names))[: limits.MDNS_NAMES]
    addresses = await _resolve(wanted) if wanted else {}
    candidates: list[Candidate] = []
    for candidate in description.candidates:
        if not is_mdns_name(candidate.address):
            candidates.append(candidate)
            continue
        address = addresses.get(candidate.address)
        if address is not None and is_usable_address(address, loopback=loopback):
            candidates.append(replace(candidate, address=address))
    return replace(description, candidates=tuple(candidates))


async def _resolve(names: list[str]) -> dict[str, str]:
    try:
        protocol = await mdns.create_mdns_protocol()
    except OSError:  # no multicast here, or the port is taken
        return {}
    try:
        answers = await asyncio.gather(
            *(protocol.resolve(name, timeout=limits.MDNS_SECONDS) for name in names)
        )
    finally:
        await protocol.close()
    return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}
