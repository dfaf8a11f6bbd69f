"""Everything in one run: `scripts/bench`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from scripts.benchmark import (
    channel,
    chromium,
    connecting,
    console,
    lossy,
    operations,
    peers,
    plots,
    scaling,
    stock,
    training,
    transfers,
)
from scripts.benchmark.pair import close_shared
from scripts.benchmark.rows import Report, Row, median

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("channel", "connecting", "operations", "training", "transfers", "console", "peers",
         "chromium")  # fmt: skip
SLOW_PARTS = ("scaling", "lossy")
PAIR_PARTS = ("operations", "training", "transfers", "console")
SIZES = (200, 1_000, 4_000, 16_000, 65_536)


class Bench:
    """The parts, and what they need of each other."""

    def __init__(self, report: Report, *, quick: bool) -> None:
        self.report = report
        self._quick = quick
        self._repeats = 3 if quick else 7
        self._stock = 0.0

    def channel(self) -> None:
        """The data channel against stock aiortc: the other parts hold themselves against it."""
        stocks, fasts = [], []
        for _ in range(1 if self._quick else 3):  # by turns
            stocks.append(
                stock.measure(
                    (4 << 20) if self._quick else (24 << 20),
                    1_000 if self._quick else 4_000,
                    channel.SMALL,
                    () if stocks else SIZES[1:-1],
                )
            )
            fasts.append(
                channel.measure(
                    "fast",
                    bulk_bytes=64 << 20,
                    messages=30_000 if self._quick else 100_000,
                    sizes=() if fasts else SIZES,
                )
            )
        small_packets = channel.measure("fast", packet=1_188, bulk_bytes=32 << 20, messages=10_000)
        self._stock = median(bulk for bulk, *_ in stocks)
        bulk, small, ping = (
            median(getattr(f, name) for f in fasts) for name in ("bulk", "small", "ping")
        )
        small_stock = median(rate for _, rate, _ in stocks)
        self.report.add(
            Row("stock aiortc: bulk", self._stock, "B/s"),
            Row("data channel: bulk, messages of 64 KiB", bulk / self._stock, "×",
                f"of stock aiortc; {bulk / 1e6:.0f} MB/s", 12.0, True),
            Row("the same, packets of 1,188 bytes", small_packets.bulk / self._stock, "×",
                f"of stock aiortc; {small_packets.bulk / 1e6:.0f} MB/s"),
            Row("200 B messages one way", small / small_stock, "×",
                f"of stock aiortc; {small:,.0f} against {small_stock:,.0f} a second", 40.0, True),
            Row("200 B round trip of the data channel", ping, "s"),
        )  # fmt: skip
        for size, rate in fasts[0].throughput:
            self.report.point("throughput: duet", size, rate)
        self.report.point("throughput: stock aiortc", channel.SMALL, small_stock * channel.SMALL)
        for size, rate in stocks[0][2]:
            self.report.point("throughput: stock aiortc", size, rate)
        self.report.point("throughput: stock aiortc", 65_536, self._stock)

    def connecting(self) -> None:
        """Pairing."""
        connecting.measure(self.report, repeats=1 if self._quick else 5)

    def operations(self) -> None:
        """Single operations and values."""
        operations.measure(
            self.report,
            repeats=self._repeats,
            curve_to=10_000 if self._quick else 1_000_000,
        )

    def training(self) -> None:
        """Training steps."""
        training.measure(
            self.report,
            repeats=self._repeats,
            curve_to=10**4 if self._quick else 10**8,
            mnist_steps=5 if self._quick else 10,
        )

    def transfers(self) -> None:
        """Large tensors."""
        self._need_channel()
        transfers.measure(
            self.report,
            stock=self._stock,
            repeats=self._repeats,
            curve_to=10**7 if self._quick else 10**9,
            memory_bytes=100_000_000 if self._quick else 500_000_000,
        )

    def peers(self) -> None:
        """RPyC and TLS."""
        peers.measure(self.report, nbytes=(16 << 20) if self._quick else (64 << 20))

    def chromium(self) -> None:
        """Against a page."""
        chromium.measure(
            self.report,
            nbytes=(8 << 20) if self._quick else (24 << 20),
            rounds=2 if self._quick else 5,
        )

    def console(self) -> None:
        """What an owner sees, and when."""
        console.measure(self.report, repeats=10 if self._quick else 30)

    def scaling(self) -> None:
        """Several pairs."""
        scaling.measure(self.report, most=8)

    def lossy(self) -> None:
        """Loss and delay."""
        lossy.measure(self.report)

    def _need_channel(self) -> None:
        if not self._stock:
            print("== channel")
            self.channel()


def main() -> int:
    """0 if every part ran; what is not met is said in the table."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="under two minutes")
    arguments.add_argument(
        "--only", nargs="+", choices=PARTS + SLOW_PARTS, metavar="PART", help=" ".join(PARTS)
    )
    arguments.add_argument("--build", type=Path, default=ROOT / "build", metavar="FOLDER")
    arguments.add_argument(
        "--images", type=Path, metavar="FOLDER", help="for the plots; default docs/images"
    )
    options = arguments.parse_args()
    report = Report()
    bench = Bench(report, quick=options.quick)
    failed = 0
    began = time.monotonic()
    for part in options.only or PARTS + (() if options.quick else SLOW_PARTS):
        started = time.monotonic()
        print(f"== {part}", flush=True)
        if part not in PAIR_PARTS:
            close_shared()  # its memory is wanted by others
        run: Callable[[], None] = getattr(bench, part)
        try:
            run()
        except Exception as error:  # the other parts say what they can all the same
            traceback.print_exc()
            report.skipped[part] = f"failed: {type(error).__name__}: {error}"
            failed += 1
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
        report.save(options.build)
    close_shared()
    print(f"== all: {time.monotonic() - began:.0f} s")
    images = options.images or (options.build if options.quick else ROOT / "docs" / "images")
    plots.draw(report, images)
    report.save(options.build)
    print("\n" + report.markdown())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
