"""A connection that is cut comes back by itself, with nothing typed, lost or done twice."""

import signal
import time

import pytest

from tests.e2e.notebook import Notebook

Pair = tuple[Notebook, Notebook]


@pytest.mark.slow
def test_a_stopped_scientist_comes_back_where_it_was(pair: Pair) -> None:
    owner, scientist = pair
    owner.run("torch.zeros(3).tag('zeros').send(duet)\nduet.requests.add_handler(action='accept')")
    scientist.run(
        """
        import time
        while not len(duet.store):
            time.sleep(0.01)
        total = duet.store["zeros"].clone()
        for _ in range(10):
            total += 1
        """
    )
    scientist.signal(signal.SIGSTOP)
    time.sleep(13)
    assert owner.run("duet.status()['state']") == "lost"
    assert owner.run("duet.status()['error']").startswith("ConnectionLost")
    scientist.signal(signal.SIGCONT)
    # these are made before the connection is back, and wait for it
    value = scientist.run(
        """
        for _ in range(10):
            total += 1
        total.get(request_block=True, timeout_secs=40).tolist()
        """
    )
    assert value == [20, 20, 20]
    assert owner.run("duet.status()['links']") == 2
    owner.wait_for_print("Connection lost")
    owner.wait_for_print("Connected again")
