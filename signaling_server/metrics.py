"""Counters for Prometheus, where its library is installed; otherwise nothing is counted.

Labels come from fixed sets: never an ID, never an address.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final, Literal

__all__ = ["Metrics", "PrometheusMetrics", "is_available"]

Kind = Literal["Counter", "Gauge", "Histogram"]

_TABLE: Final[dict[str, tuple[Kind, str, tuple[str, ...]]]] = {
    "connections": ("Gauge", "Registered sockets", ("role",)),
    "sessions": ("Gauge", "Sessions that are known", ()),
    "registrations_total": ("Counter", "Registrations", ("result",)),
    "joins_total": ("Counter", "Joins", ("result",)),
    "messages_total": ("Counter", "Messages between linked IDs", ("type", "result")),
    "bytes_total": ("Counter", "Bytes of frames", ("dir",)),
    "queue_depth": ("Gauge", "Messages that wait", ()),
    "dropped_total": ("Counter", "Messages that were discarded", ("reason",)),
    "rate_limited_total": ("Counter", "Frames and sockets that were refused", ("scope",)),
    "pairing_seconds": ("Histogram", "First join to first signal back", ()),
    "backend_errors_total": ("Counter", "Failures of the backend", ()),
    "ice_credentials_total": ("Counter", "Credentials handed out on request", ()),
    "build_info": ("Gauge", "Version", ("version",)),
}


class Metrics:
    """Counts nothing; the same methods as `PrometheusMetrics`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Raises a counter."""

    def gauge(self, name: str, change: float, **labels: str) -> None:
        """Changes a gauge."""

    def gauge_to(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""

    def observe(self, name: str, value: float) -> None:
        """Adds to a histogram."""


def is_available() -> bool:
    """Whether prometheus-client is installed (the extra ``server``)."""
    return importlib.util.find_spec("prometheus_client") is not None


class PrometheusMetrics(Metrics):
    """Counts in a registry of its own, under the prefix ``duet_sig_``."""

    def __init__(self, version: str) -> None:
        library: Any = importlib.import_module("prometheus_client")
        self._generate = library.generate_latest
        self._registry = library.CollectorRegistry()
        self._metrics: dict[str, Any] = {
            name: getattr(library, kind)(f"duet_sig_{name}", text, labels, registry=self._registry)
            for name, (kind, text, labels) in _TABLE.items()
        }
        self.gauge_to("build_info", 1, version=version)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Raises a counter."""
        self._child(name, labels).inc(amount)

    def gauge(self, name: str, change: float, **labels: str) -> None:
        """Changes a gauge."""
        self._child(name, labels).inc(change)

    def gauge_to(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._child(name, labels).set(value)

    def observe(self, name: str, value: float) -> None:
        """Adds to a histogram."""
        self._child(name, {}).observe(value)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        text: bytes = self._generate(self._registry)
        return text

    def _child(self, name: str, labels: dict[str, str]) -> Any:
        metric = self._metrics[name]
        return metric.labels(**labels) if labels else metric
