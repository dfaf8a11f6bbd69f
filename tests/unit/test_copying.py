"""An upload leaves while it is copied, and is the scientist's again when `send` returns."""

import numpy as np
import pytest

from duet_p2p.limits import COPY_BYTES
from duet_p2p.scientist.copying import Copy
from duet_p2p.session.bulk_sender import Source


def test_it_is_the_bytes_of_all_buffers_whatever_happens_to_them_later() -> None:
    first, last = np.arange(COPY_BYTES // 4 + 3, dtype=np.float64), bytearray(b"the end")
    expected = first.tobytes() + bytes(last)
    copy = Copy([memoryview(first), memoryview(b""), memoryview(last)])
    source: Source = copy
    assert source.nbytes == len(expected) and source.ready() == 0
    assert bytes(source.read(0, 10)) == b""
    copy.fill()
    first[:], last[:] = 0, b"changed"
    copy.fill()
    assert source.ready() == len(expected)
    assert bytes(source.read(0, len(expected) + 5)) == expected
    assert bytes(source.read(len(expected) - 3, 10)) == b"end"


def test_one_that_nobody_will_copy_ends_early() -> None:
    copy = Copy([memoryview(b"123")])
    copy.give_up()
    with pytest.raises(EOFError):
        copy.ready()
    whole = Copy([memoryview(b"123")])
    whole.fill()
    whole.give_up()
    assert whole.ready() == 3
