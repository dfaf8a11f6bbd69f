"""The curves of a run as pictures for docs/performance.md."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from scripts.benchmark.rows import Report

__all__ = ["draw"]

# File name: title, axes, prefix of the curves, what is done to a point.
_PLOTS: dict[str, tuple[str, str, str, str, Callable[[float, float], float]]] = {
    "throughput": (
        "Data channel, two processes", "message, bytes", "MB/s", "throughput: ",
        lambda _, y: y / 1e6,
    ),
    "operations": (
        "Chained adds and one get", "operations", "µs each", "operations", lambda x, y: y / x * 1e6,
    ),
    "steps": (
        "Training step against local torch", "parameters", "× local", "step ratio: ",
        lambda _, y: y,
    ),
    "tensors": (
        "A tensor up, until usable", "bytes", "MB/s", "tensor: ", lambda _, y: y / 1e6,
    ),
    "pairs": ("Pairs at once", "pairs", "operations/s, all", "pairs", lambda _, y: y),
    "loss": ("Loss", "% of packets", "MB/s", "loss: ", lambda _, y: y / 1e6),
    "delay": ("Delay", "ms one way", "MB/s", "delay: ", lambda _, y: y / 1e6),
}  # fmt: skip


def draw(report: Report, folder: Path) -> None:
    """``bench-NAME.png`` for each plot that has a curve."""
    if importlib.util.find_spec("matplotlib") is None:
        report.skipped["plots"] = "matplotlib is not installed"
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, x_label, y_label, prefix, value) in _PLOTS.items():
        curves = {key: points for key, points in report.curves.items() if key.startswith(prefix)}
        if not curves:
            continue
        figure, axes = pyplot.subplots(figsize=(6, 3.6), dpi=110)
        for key, points in curves.items():
            label = key.removeprefix(prefix) or None
            axes.plot([x for x, _ in points], [value(x, y) for x, y in points], "o-", label=label)
        is_ratio = name in ("steps", "pairs", "loss", "delay")
        axes.set_xscale("log" if name not in ("pairs", "loss", "delay") else "linear")
        axes.set_yscale("linear" if is_ratio else "log")
        if is_ratio:
            axes.set_ylim(bottom=0)
        if name == "steps":
            axes.axhline(1.0, color="grey", linewidth=1, linestyle=":")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
        if any(key.removeprefix(prefix) for key in curves):
            axes.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / f"bench-{name}.png")
        pyplot.close(figure)
