"""What an engine writes to its terminal fills no disk of an owner who keeps the log."""

import logging

import pytest

from duet_p2p import limits
from duet_p2p.engine.terminal import Terminal

LINE = b"a warning of torch, " + b"x" * 100 + b"\n"
MOST = limits.ENGINE_LOG_BYTES


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "duet_p2p.engine")
    return caplog


def test_so_much_a_minute_is_logged_and_the_rest_is_counted(log):
    now = [100.0]
    terminal = Terminal(lambda: now[0])
    for _ in range(10 * MOST // len(LINE)):
        terminal.say(LINE)
    assert MOST - len(LINE) < sum(len(r.getMessage()) + 1 for r in log.records[:-1]) <= MOST + 1
    assert "left out" in log.records[-1].getMessage()
    log.clear()
    now[0] += 60
    terminal.say(LINE)
    counted, line = [record.getMessage() for record in log.records]
    left_out = 10 * MOST // len(LINE) * len(LINE) - MOST
    assert counted == f"{left_out} bytes of the engine's terminal were left out"
    assert line == LINE.decode().strip()


def test_one_line_without_an_end_is_bounded_too(log):
    terminal = Terminal()
    for _ in range(8):
        terminal.say(b"x" * 65_536)
    assert sum(record.getMessage().count("x") for record in log.records) == MOST
    terminal.end()
    assert "393216 bytes" in log.records[-1].getMessage()


def test_what_cannot_be_seen_is_not_written(log):
    Terminal().say(b"red \x1b[31m\xff\n\n  \n")
    (record,) = log.records
    assert "\x1b" not in record.getMessage() and record.getMessage().startswith("red ?[31m")
