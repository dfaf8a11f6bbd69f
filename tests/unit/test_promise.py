"""Answers to come: set in one thread, waited for in another."""

import threading

import pytest

from duet_p2p.scientist.promise import Promise


def test_a_value_is_there_for_everybody_who_waits():
    promise = Promise()
    seen = []
    waiting = [threading.Thread(target=lambda: seen.append(promise.exception(20))) for _ in "ab"]
    for thread in waiting:
        thread.start()
    assert not promise.done()
    promise.set_result(7)
    for thread in waiting:
        thread.join(20)
    assert seen == [None, None]
    assert promise.done() and promise.result() == 7 and promise.exception() is None


def test_an_error_is_raised_where_the_value_would_be():
    promise = Promise()
    promise.set_exception(KeyError("gone"))
    assert isinstance(promise.exception(), KeyError)
    for _ in range(2):
        with pytest.raises(KeyError):
            promise.result()


def test_who_does_not_want_to_wait_longer_is_told_and_may_come_again():
    promise = Promise()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            promise.exception(0.001)
    promise.set_result(1)
    assert promise.exception(0.001) is None


def test_the_first_outcome_counts_and_is_told_once():
    told = []
    promise = Promise(told.append)
    promise.set_result(1)
    promise.set_exception(ValueError())
    promise.set_result(2)
    assert promise.result() == 1
    assert told == [promise]
