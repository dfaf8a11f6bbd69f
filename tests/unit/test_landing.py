"""An upload lands in a sealed memory file, and a tensor lives in it uncopied."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

import pytest
import torch

from duet_p2p.engine import landing, pipe
from duet_p2p.engine.landing import Landing
from duet_p2p.surface.values import from_wire, pack
from duet_p2p.wire.messages import Blob, Put
from tests.unit.engine_kit import Driver, m

pytestmark = pytest.mark.skipif(not landing.HAS_MEMORY_FILES, reason="needs memory files")


def test_chunks_are_put_in_their_place_and_nobody_writes_after_the_seal() -> None:
    place = Landing(10)
    place.write(0, b"01234")
    place.write(5, memoryview(b"56789"))
    fd = place.seal()
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 3)
    assert bytes(landing.mapped(fd, 10)) == b"0123456789"


def test_what_one_side_writes_in_its_mapping_the_other_does_not_see() -> None:
    place = Landing(4)
    place.write(0, b"same")
    fd = place.seal()
    one, two = landing.mapped(os.dup(fd), 4), landing.mapped(fd, 4)
    one[:] = b"mine"
    assert bytes(two) == b"same"


@contextlib.contextmanager
def one_page_held(fd: int, nbytes: int = 4096) -> Iterator[None]:
    """Something else in the kernel has a page of the file for a while, as when it is moved."""
    out, into = os.pipe()
    os.splice(fd, into, nbytes, offset_src=0)
    try:
        yield
    finally:
        os.close(into)
        os.close(out)


def test_a_file_of_which_the_kernel_holds_a_page_goes_on_as_a_copy() -> None:
    place = Landing(100_000)
    place.write(0, bytes(range(250)) * 400)
    before = len(os.listdir("/proc/self/fd"))
    with one_page_held(place._fd):
        with pytest.raises(OSError, match="busy"):
            landing.seal(place._fd, tries=1)
        place.complete()
        place.complete()
        found = place.map()
    assert bytes(found) == bytes(range(250)) * 400
    del found
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_page_that_is_held_for_a_while_only_delays_the_seal() -> None:
    place = Landing(100_000)
    held = one_page_held(place._fd)
    held.__enter__()
    letting_go = threading.Timer(0.3, held.__exit__, (None, None, None))
    letting_go.start()
    landing.seal(place._fd)
    letting_go.join()
    landing.check_sealed(place._fd, 100_000)


def test_where_there_are_no_more_files_bytes_go_through_the_pipe_as_they_are(monkeypatch) -> None:
    def none(*args: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(landing.os, "memfd_create", none)
    outgoing = pipe.encode([m.Arrived(7, bytes(100_000))])
    assert not outgoing.fds and sum(chunk.nbytes for chunk in outgoing.chunks) > 100_000


def test_a_landing_that_is_given_up_closes_its_file() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        Landing(100)
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_goes_through_the_pipe_without_being_read() -> None:
    place = Landing(100_000)
    place.write(0, bytes(range(250)) * 400)
    outgoing = pipe.encode([m.Arrived(7, place)])
    assert sum(chunk.nbytes for chunk in outgoing.chunks) < 100
    assert os.pread(outgoing.fds[0], 3, 250) == b"\0\1\2"
    outgoing.close()


def uploaded(driver: Driver, tensors: list[torch.Tensor]) -> None:
    packed = pack(tuple(tensors))
    place = Landing(packed.nbytes)
    offset = 0
    for buffer in packed.buffers:
        place.write(offset, memoryview(buffer).cast("B"))
        offset += memoryview(buffer).nbytes
    blob = Blob(9, packed.nbytes)
    driver.engine.handle(m.Arrived(9, place))
    driver.send(Put(tuple(range(1, len(tensors) + 1)), tuple(packed.value), blob))


def test_one_tensor_lives_in_the_file_and_can_be_written() -> None:
    driver = Driver()
    uploaded(driver, [torch.arange(100_000.0)])
    stored = driver.engine.store.get(1).value
    assert torch.equal(stored, torch.arange(100_000.0))
    assert stored.untyped_storage().nbytes() == 400_000
    stored.add_(1)
    assert stored[0] == 1


def without_pages(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_where_no_page_is_left_an_upload_takes_what_the_process_has(monkeypatch) -> None:
    driver = Driver()
    monkeypatch.setattr(landing.mmap, "mmap", without_pages)
    uploaded(driver, [torch.arange(100_000.0)])
    stored = driver.engine.store.get(1).value
    stored.add_(1)
    assert torch.equal(stored, torch.arange(100_000.0) + 1)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_an_upload_with_no_memory_left_fails_alone(monkeypatch, is_hidden) -> None:
    driver = Driver()
    driver.share(torch.ones(3))
    driver.engine._executor.admission.has_hidden = is_hidden

    def full(fd: int, nbytes: int) -> None:
        os.close(fd)
        raise MemoryError

    monkeypatch.setattr(landing, "mapped", full)
    uploaded(driver, [torch.arange(100_000.0)])
    (failed,) = (event for event in driver.events if isinstance(event, m.OpFailed))
    assert (failed.op, failed.code, failed.is_public) == ("Put", "MemoryError", not is_hidden)
    assert driver.engine.store.get(-1).value.sum() == 3


def test_bytes_go_through_the_pipe_before_anybody_asks_for_memory(monkeypatch) -> None:
    place = Landing(100_000)
    outgoing = pipe.encode([m.Arrived(7, place)])
    monkeypatch.setattr(landing.mmap, "mmap", without_pages)
    reader = pipe.FrameReader()
    (command,) = reader.feed(b"".join(outgoing.chunks), [os.dup(fd) for fd in outgoing.fds])
    outgoing.close()
    assert command.data.nbytes == 100_000


def test_a_small_part_of_a_large_upload_does_not_keep_the_rest() -> None:
    driver = Driver()
    uploaded(driver, [torch.zeros(100_000), torch.ones(4)])
    small, large = driver.engine.store.get(2).value, driver.engine.store.get(1).value
    assert small.untyped_storage().nbytes() == 16
    assert abs(small.data_ptr() - large.data_ptr()) != 400_000


def test_bytes_that_others_may_change_are_copied() -> None:
    packed = pack(torch.arange(1000.0))
    blob = bytearray(b"".join(packed.buffers))
    copied, kept = from_wire(packed.value, blob), from_wire(packed.value, blob, is_owned=True)
    blob[:4] = bytes(torch.tensor([5.0]).numpy().tobytes())
    assert copied[0] == 0 and kept[0] == 5
