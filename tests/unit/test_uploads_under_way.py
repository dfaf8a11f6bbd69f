"""Announced uploads count before they arrive: each has a limit, and all together."""

import asyncio

import pytest

from duet_p2p.owner.uploads import Uploads
from duet_p2p.wire.values import Blob
from tests.unit.owner_kit import FakeSession


@pytest.fixture
def arrived():
    return []


@pytest.fixture
async def uploads(arrived):
    session = FakeSession()
    made = Uploads(
        session, lambda t, data, why: arrived.append((t, bytes(data), why)), one=10, together=25
    )
    made.session = session
    return made


async def test_one_upload_at_its_limit_is_taken_and_one_past_it_is_not(uploads, arrived):
    uploads.expect(Blob(1, 10))
    uploads.expect(Blob(2, 11))
    assert list(uploads.session.expected) == [1]
    assert uploads.session.refused == [2]
    assert arrived == []  # the engine refuses it by the same number


async def test_all_together_have_a_limit_and_one_past_it_fails_alone(uploads, arrived):
    for transfer, nbytes in ((1, 10), (2, 10), (3, 5), (4, 1)):
        uploads.expect(Blob(transfer, nbytes))
    assert uploads.under_way == 25
    assert uploads.session.refused == [4]
    assert [(t, data) for t, data, _ in arrived] == [(4, b"")]
    assert "uploads_bytes" in arrived[0][2] and "25 allowed" in arrived[0][2]
    uploads.session.expected[1].set_result(b"0123456789")
    await asyncio.sleep(0)
    assert arrived[-1] == (1, b"0123456789", "")
    uploads.expect(Blob(5, 10))
    assert uploads.under_way == 25


async def test_what_does_not_arrive_frees_its_room_and_fails_the_upload(uploads, arrived):
    uploads.expect(Blob(1, 10))
    uploads.expect(Blob(1, 10))  # declared twice
    uploads.session.expected[1].cancel()
    await asyncio.sleep(0)
    assert arrived == [(1, b"", ""), (1, b"", "")]
    assert uploads.under_way == 0


async def test_what_is_behind_an_upload_that_does_not_come_counts(uploads, arrived):
    """The engine cannot take it yet, so its bytes are kept."""
    for transfer, nbytes in ((1, 5), (2, 10), (3, 10)):
        uploads.expect(Blob(transfer, nbytes))
    uploads.session.expected[2].set_result(b"0123456789")
    uploads.session.expected[3].set_result(b"0123456789")
    await asyncio.sleep(0)
    assert uploads.under_way == 25
    uploads.session.expected[1].set_result(b"01234")
    await asyncio.sleep(0)
    assert uploads.under_way == 0


async def test_a_number_that_is_used_again_is_another_upload(uploads, arrived):
    for transfer, nbytes in ((1, 5), (2, 1)):
        uploads.expect(Blob(transfer, nbytes))
    uploads.session.expected[2].set_result(b"0")
    await asyncio.sleep(0)
    del uploads.session.expected[2]
    uploads.expect(Blob(2, 10))
    uploads.session.expected[1].set_result(b"01234")
    await asyncio.sleep(0)
    assert uploads.under_way == 10
