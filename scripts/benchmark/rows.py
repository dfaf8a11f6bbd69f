"""What was measured: rows with what they are held against, curves for the plots."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

__all__ = ["Report", "Row", "machine", "median", "shown", "timed"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    what: str
    value: float
    unit: str
    """``s``, ``B/s``, ``/s``, ``B`` or ``×``."""
    against: str = ""
    """What a ratio is to, or what else to know."""
    must: float | None = None
    """What it must be: at most, or at least where `more_is_better`."""
    more_is_better: bool = False

    @property
    def is_met(self) -> bool | None:
        """None where nothing is asked."""
        if self.must is None:
            return None
        return self.value >= self.must if self.more_is_better else self.value <= self.must


@dataclass(slots=True)
class Report:
    """Everything of one run."""

    rows: list[Row] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Points by name, ``throughput: fast`` in bytes and bytes per second."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Parts that did not run, with the reason."""
    profile: list[tuple[str, float]] = field(default_factory=list)
    """Seconds of one pipelined operation by stage."""

    def add(self, *rows: Row) -> None:
        """More rows, also printed as they come."""
        for row in rows:
            self.rows.append(row)
            print(f"  {row.what}: {shown(row.value, row.unit)} {row.against}", flush=True)

    def point(self, curve: str, x: float, y: float) -> None:
        """One more point of a curve."""
        self.curves.setdefault(curve, []).append((x, y))

    def markdown(self) -> str:
        """The table for people."""
        lines = [
            machine(),
            "",
            "| what | this run | | must be | |",
            "| --- | ---: | --- | ---: | --- |",
        ]
        for row in self.rows:
            must = ""
            if row.must is not None:
                must = f"{'≥' if row.more_is_better else '≤'} {shown(row.must, row.unit)}"
            met = {None: "", True: "yes", False: "**no**"}[row.is_met]
            lines.append(
                f"| {row.what} | {shown(row.value, row.unit)} | {row.against} | {must} | {met} |"
            )
        if self.profile:
            lines += ["", "| stage of a pipelined add | CPU |", "| --- | ---: |"]
            lines += [f"| {stage} | {shown(seconds, 's')} |" for stage, seconds in self.profile]
        if self.skipped:
            lines += ["", "Did not run:", ""]
            lines += [f"* {part}: {reason}" for part, reason in self.skipped.items()]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """``bench.json`` and ``bench.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "machine": machine(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "rows": [{**asdict(row), "is_met": row.is_met} for row in self.rows],
            "curves": self.curves,
            "profile": self.profile,
            "skipped": self.skipped,
        }
        (folder / "bench.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        (folder / "bench.md").write_text(self.markdown())


def machine() -> str:
    """This machine in one line, its load included: a busy one is no place to measure on."""
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gb():.0f} GB, "
        f"load {os.getloadavg()[0]:.1f}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


def _processor() -> str:
    """What the system calls it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def shown(value: float, unit: str) -> str:
    """A figure with a unit that fits its size."""
    if unit == "×":
        return f"{value:.2f} ×"
    if unit == "s":
        if abs(value) < 1e-3:
            return f"{value * 1e6:.0f} µs"
        return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"
    name = unit.removesuffix("/s") if unit == "B/s" else unit
    if unit in ("B/s", "B"):
        per = "/s" if unit == "B/s" else ""
        return f"{value / 1e6:.1f} MB{per}" if value >= 1e5 else f"{value / 1e3:.1f} kB{per}"
    return f"{value:,.0f} {name}"
