"""A program that sends far more tensors than an owner receives ahead of a busy engine."""

import pytest

from tests.e2e.conftest import connect, wait_for_store
from tests.e2e.notebook import Notebook

pytestmark = pytest.mark.slow


def test_all_of_them_arrive_and_in_their_places(
    server: str, owner: Notebook, scientist: Notebook
) -> None:
    owner.run("import os, signal, torch")
    connect(server, owner, scientist, logging=False)
    owner.run("x = duet.send(torch.ones(2), tags=['data'])")
    wait_for_store(scientist, 1)
    owner.run("engine = duet.status()['engine']['pid']; os.kill(engine, signal.SIGSTOP)")
    scientist.run(
        "import torch\n"
        "sent = [torch.full((20_000 if n % 3 else 9_000,), float(n)).send(duet) "
        "for n in range(300)]\n"
        "total = sum(pointer.max() for pointer in sent)"
    )
    owner.run("os.kill(engine, signal.SIGCONT)")
    assert scientist.run("total.get().item()") == sum(range(300))
