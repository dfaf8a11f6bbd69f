"""Processes of the demo that are ended while their interpreter begins."""

import signal
import time

from duet_p2p.demo.child import Child


def test_an_interrupt_before_the_first_line_of_code_ends_it_without_a_word(capfd):
    shown = []
    for milliseconds in range(30):  # all of an interpreter's start
        child = Child("part", ["this"], lambda name, line: shown.append(line))
        time.sleep(milliseconds / 1_000)
        assert child.end() in (-signal.SIGINT, 0)
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
