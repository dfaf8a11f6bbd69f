"""The data channel between this process and a page, against Chromium page to page."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from duet_p2p import limits
from duet_p2p.protocol.sdp import build_sdp, parse_sdp
from duet_p2p.transport.base import Channel, Description
from duet_p2p.transport.webrtc import WebRtcPeer
from scripts.benchmark.rows import Report, Row, median

__all__ = ["FLAGS", "measure"]

_PAGE = Path(__file__).with_name("page.js")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_MESSAGE = 65_536
_SECONDS = 120


def measure(report: Report, *, nbytes: int, rounds: int) -> None:
    """Three rows; skipped where there is no Chromium.

    All connections last as long as the part. The first transfer of each, which finds out what the
    path takes, is not counted; then they take turns.

    Args:
        report: takes the rows.
        nbytes: of a transfer.
        rounds: of three transfers.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        report.skipped["Chromium"] = "needs chromium and the package playwright"
        return
    found = asyncio.run(_measure(chromium, max(1, nbytes // _MESSAGE), rounds))
    to, back = ([rates[n] / rates[0] for rates in found] for n in (1, 2))
    report.add(
        Row("Chromium, page to page: bulk", median(rates[0] for rates in found), "B/s"),
        Row("bulk to Chromium", median(to), "×", _spread(to), 0.9, True),
        Row("bulk from Chromium", median(back), "×", _spread(back), 0.9, True),
    )


def _spread(ratios: list[float]) -> str:
    return f"of page to page, by turns; {min(ratios):.2f} to {max(ratios):.2f}"


async def _measure(chromium: str, count: int, rounds: int) -> list[tuple[float, float, float]]:
    """Rates of page to page, to the page and from it, in bytes a second, for each round."""
    from playwright.async_api import async_playwright

    async with asyncio.timeout(_SECONDS), async_playwright() as started:
        browser = await started.chromium.launch(
            executable_path=chromium, headless=True, args=list(FLAGS)
        )
        try:
            page = await browser.new_page()
            await page.add_script_tag(path=_PAGE)
            await page.evaluate("bench.join()")
            peer = WebRtcPeer(controlling=True, loopback=True, sctp="auto")
            offer = build_sdp(await peer.gather())
            answer = await page.evaluate("sdp => bench.answer(sdp)", offer)
            await peer.connect(_understood(answer))
            try:
                found = [await _round(page, peer, count) for _ in range(1 + rounds)]
            finally:
                await peer.close()
        finally:
            await browser.close()
    return found[1:]


async def _round(page: Any, peer: WebRtcPeer, count: int) -> tuple[float, float, float]:
    nbytes = count * _MESSAGE
    alone = nbytes / float(await page.evaluate(f"bench.alone({count})"))
    to = nbytes / await _sent(page, peer, count)
    return alone, to, nbytes / await _taken(page, peer, count)


def _understood(text: str) -> Description:
    [digest] = re.findall(r"^a=fingerprint:sha-256 (\S+)", text, re.MULTILINE)
    [setup] = re.findall(r"^a=setup:(\S+)", text, re.MULTILINE)
    fp = bytes.fromhex(digest.replace(":", ""))
    return parse_sdp(text, kind="answer", fp=fp, setup=setup, loopback=True)


async def _sent(page: Any, peer: WebRtcPeer, count: int) -> float:
    has_all = asyncio.Event()
    peer.on_frame = lambda channel, data: has_all.set()
    await page.evaluate(f"bench.take({count})")
    message = os.urandom(_MESSAGE)
    started = time.perf_counter()
    for _ in range(count):
        peer.send(Channel.BULK, message)
        await peer.drain(Channel.BULK, limits.BULK_BUFFER_BYTES)
    await has_all.wait()
    return time.perf_counter() - started


async def _taken(page: Any, peer: WebRtcPeer, count: int) -> float:
    heard = 0

    def count_one(channel: int, data: bytes) -> None:
        nonlocal heard
        heard += channel == Channel.BULK
        if heard == count:
            peer.send(Channel.CTL, b"all")

    peer.on_frame = count_one
    return float(await page.evaluate(f"bench.send({count})"))
