"""Token buckets and the guard against guessing IDs."""

import pytest

from signaling_server.buckets import Bucket, Buckets, LookupGuard


def test_a_burst_is_granted_and_the_next_one_waits() -> None:
    bucket = Bucket(3, now=0.0)
    assert [bucket.take(60, 3, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(60, 3, 0.0) == pytest.approx(1.0)
    assert bucket.take(60, 3, 0.5) == pytest.approx(0.5)
    assert bucket.take(60, 3, 1.0) == 0.0


def test_waiting_as_long_as_told_is_enough_at_any_rate() -> None:
    for rate in (1, 6, 7, 30, 59.3):
        bucket, now = Bucket(1, now=0.0), 0.0
        for _ in range(50):
            now += bucket.take(rate, 1, now)
            assert bucket.take(rate, 1, now) in (0.0, pytest.approx(60 / rate))


def test_a_bucket_never_holds_more_than_its_burst_and_no_clock_goes_back() -> None:
    bucket = Bucket(2, now=100.0)
    assert [bucket.take(60, 2, 10_000.0) > 0 for _ in range(3)] == [False, False, True]
    assert bucket.take(60, 2, 0.0) > 0


def test_buckets_are_apart_by_scope_and_key() -> None:
    buckets = Buckets(10)
    assert buckets.take("a", "x", 60, 1, 0.0) == 0.0
    assert buckets.take("a", "x", 60, 1, 0.0) > 0
    assert buckets.take("b", "x", 60, 1, 0.0) == 0.0
    assert buckets.take("a", "y", 60, 1, 0.0) == 0.0


def test_the_least_recently_used_bucket_goes() -> None:
    buckets = Buckets(2)
    for key in ("x", "y", "x", "z"):  # y is the oldest when z comes
        buckets.take("a", key, 60, 5, 0.0)
    assert len(buckets) == 2
    for _ in range(3):
        assert buckets.take("a", "x", 60, 5, 0.0) == 0.0
    assert buckets.take("a", "x", 60, 5, 0.0) > 0  # x was not forgotten


def test_a_million_sources_do_not_grow_the_memory() -> None:
    buckets, guard = Buckets(100), LookupGuard(10, 3600, 100)
    for number in range(20_000):
        buckets.take("a", str(number), 60, 1, 0.0)
        guard.failed(str(number), "id", 0.0)
    assert len(buckets) == len(guard) == 100


def test_ten_different_unknown_ids_block_nine_do_not() -> None:
    guard = LookupGuard(10, 3600, 100)
    for number in range(9):
        guard.failed("a", str(number), 0.0)
    assert guard.blocked("a", 0.0) == 0.0
    guard.failed("a", "9", 0.0)
    assert guard.blocked("a", 0.0) == 60.0
    assert guard.blocked("b", 0.0) == 0.0
    assert guard.blocked("a", 59.0) == 1.0
    assert guard.blocked("a", 60.0) == 0.0


def test_the_same_unknown_id_is_a_partner_that_is_late() -> None:
    guard = LookupGuard(10, 3600, 100)
    for number in range(1000):
        guard.failed("a", "same", number / 100)
    assert guard.blocked("a", 10.0) == 0.0


def test_guesses_of_more_than_a_minute_ago_do_not_count() -> None:
    guard = LookupGuard(10, 3600, 100)
    for number in range(100):
        guard.failed("a", str(number), number * 7.0)
    assert guard.blocked("a", 700.0) == 0.0


def test_blocks_double_up_to_the_longest_and_are_forgiven_later() -> None:
    guard, now, blocks = LookupGuard(2, 500, 100), 0.0, []
    for number in range(6):
        guard.failed("a", f"x{number}", now)
        guard.failed("a", f"y{number}", now)
        blocks.append(guard.blocked("a", now))
        now += blocks[-1]
    assert blocks == [60, 120, 240, 480, 500, 500]
    now += 501
    guard.failed("a", "x", now)
    guard.failed("a", "y", now)
    assert guard.blocked("a", now) == 60.0
