"""What the owner's screen says."""

import logging
import sys

import pytest

from duet_p2p import limits
from duet_p2p.objects.words import clean_line, clean_text
from duet_p2p.owner.printing import (
    OPEN_WARNING,
    LiveLine,
    Printer,
    Status,
    in_notebook,
    live_text,
    value_text,
)
from tests.unit.owner_kit import InlineThread


def test_a_decision_shows_action_name_reason_and_value():
    assert value_text("deny", "loss", "why", "0.31") == "HANDLER deny 'loss' ('why'): 0.31"
    assert value_text("accept", "loss", "", "0.31") == "HANDLER accept 'loss': 0.31"


def test_a_long_value_is_cut_at_the_limit():
    at_limit = "x" * limits.PRINTED_VALUE_CHARS
    assert value_text("deny", "n", "", at_limit).endswith("n': " + at_limit)
    shown = value_text("deny", "n", "", at_limit + "x").removeprefix("HANDLER deny 'n': ")
    assert len(shown) == limits.PRINTED_VALUE_CHARS
    assert shown.endswith("…")


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "\x07", "\x00", "\x9b31m", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800"],
)
def test_nothing_invisible_is_shown(hostile):
    kept = "".join(c for c in hostile if c.isascii() and c.isprintable())
    assert clean_text(f"a{hostile}b", 100) == f"a{kept}b"
    assert clean_line(f"a{hostile}b", 100) == f"a{kept}b"


def test_a_text_is_shown_alike_whether_each_character_had_to_be_looked_at():
    """One that has nothing to be dropped is taken as a whole."""
    points = [*range(0x3200), *range(0xFE00, 0xFE10), *range(0xFFA0, 0x10200), 0xE0100, 0x10FFFF]
    for c in map(chr, points):
        for text in (f"a{c}b", f"{c}a", f"a{c * 6}"):
            assert clean_text(text, 100) == clean_text(f"{text}\x07", 100), ascii(c)
            assert clean_line(text, 100) == clean_line(f"{text}\x07", 100), ascii(c)


def test_lines_stay_in_values_and_go_from_names():
    assert clean_text("a\n\tb", 100) == "a\n\tb"
    assert clean_line("a\n\tb\u2028c", 100) == "a  b c"
    assert clean_line(None, 100) == ""
    assert clean_line("x" * 200, 100) == "x" * 100


def test_a_screen_that_takes_nothing_keeps_so_many_values_waiting(capsys, monkeypatch):
    """A pager, or a terminal that was stopped, while a scientist asks on and on."""
    monkeypatch.setattr(limits, "PRINTED_WAITING", 3)
    thread = StoppedThread()
    printer = Printer(thread)
    for number in range(10):
        printer.value("deny", "loss", "", str(number), to_screen=True, to_log=False)
    assert len(thread.waiting) == 3
    thread.go_on()
    printed = [f"HANDLER deny 'loss': {number}" for number in range(3)]
    assert capsys.readouterr().out.splitlines() == [
        *printed,
        "HANDLER … 7 more were decided meanwhile",
    ]
    printer.value("deny", "loss", "", "10", to_screen=True, to_log=False)
    thread.go_on()
    assert capsys.readouterr().out == "HANDLER deny 'loss': 10\n"


class StoppedThread:
    """Runs what it was told when the test says so."""

    def __init__(self):
        self.waiting = []

    def tell(self, function, *args):
        self.waiting.append((function, args))

    def go_on(self):
        waiting, self.waiting = self.waiting, []
        for function, args in waiting:
            function(*args)


def test_print_local_prints_and_log_local_logs(capsys, caplog):
    printer = Printer(InlineThread())
    with caplog.at_level(logging.INFO, logger="duet_p2p.owner"):
        printer.value("deny", "loss", "", "1.5", to_screen=True, to_log=False)
        assert capsys.readouterr().out == "HANDLER deny 'loss': 1.5\n"
        assert caplog.messages == []
        printer.value("deny", "loss", "", "2.5", to_screen=False, to_log=True)
        assert capsys.readouterr().out == ""
        assert caplog.messages == ["HANDLER deny 'loss': 2.5"]


def test_a_silent_session_prints_no_lines_but_what_print_local_asks_for(capsys, caplog):
    printer = Printer(InlineThread(), is_on=False)
    printer.say("hello")
    assert capsys.readouterr().out == ""
    printer.value("deny", "loss", "", "1.5", to_screen=True, to_log=False)
    assert "1.5" in capsys.readouterr().out
    printer.warn_open()
    assert caplog.messages == [OPEN_WARNING]


def test_the_open_warning_says_what_it_means_and_how_to_end_it(capsys):
    Printer(InlineThread()).warn_open()
    shown = capsys.readouterr().out
    assert "raw data" in shown
    assert "clear_handlers" in shown


def test_the_live_line():
    status = Status(objects=2, requests=1, handlers=3, operations=1204, is_open_to_all=False)
    assert live_text(status) == "Objects: 2  Requests: 1  Handlers: 3  Operations: 1,204"
    open_to_all = Status(0, 0, 1, 0, is_open_to_all=True)
    assert live_text(open_to_all).endswith("OPEN")


def test_a_script_has_no_live_line(capsys):
    thread = InlineThread()
    line = LiveLine(thread)
    assert not line.is_on
    line.update(Status(1, 1, 1, 1, False))
    line.close()
    assert thread.told == []
    assert capsys.readouterr().out == ""


def test_a_notebook_redraws_one_line_only_when_it_changes(monkeypatch):
    drawn = []
    monkeypatch.setattr("duet_p2p.owner.printing.in_notebook", lambda: True)
    line = LiveLine(InlineThread())
    monkeypatch.setattr(line, "_draw", drawn.append)
    line.update(Status(1, 0, 0, 0, False))
    line.update(Status(1, 0, 0, 0, False))
    line.update(Status(2, 0, 0, 0, False))
    line.close()
    line.update(Status(3, 0, 0, 0, False))
    assert [text[:10] for text in drawn] == ["Objects: 1", "Objects: 2", ""]


def test_ipython_is_not_imported_to_find_out(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    assert "IPython" not in sys.modules
