"""torch._dynamo takes 1.4 s to import, and nothing here ever compiles."""

import subprocess
import sys

import pytest

INFERENCE = """
import sys, torch
from duet_p2p.surface.shapes import TensorSpec, infer
rows = TensorSpec((64, 20), torch.float32, True)
weight, bias = TensorSpec((3, 20), torch.float32, True), TensorSpec((3,), torch.float32, True)
scores = infer("torch.nn.functional.linear", (rows, weight, bias), {})
assert scores.shape == (64, 3)
labels = TensorSpec((64,), torch.int64)
assert infer("torch.nn.functional.cross_entropy", (scores, labels), {}).shape == ()
for name in ("relu", "log_softmax", "dropout", "gelu", "softplus"):
    infer(f"torch.nn.functional.{name}", (rows,), {})
for name in ("mean", "std", "exp", "argmax", "var", "norm"):
    infer(f"torch.Tensor.{name}", (rows,), {})
assert infer("torch.Tensor.add", (rows, 1), {}).shape == (64, 20)
"""
OPTIMIZERS = """
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.Adadelta, torch.optim.LBFGS):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    def closure():
        optimizer.zero_grad()
        loss = (weight * weight).sum()
        loss.backward()
        return loss
    optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
    assert (weight != 1).all()
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_shape_inference_does_not_load_the_compiler() -> None:
    run(f"{INFERENCE}\nassert 'torch._dynamo' not in sys.modules")


@pytest.mark.slow
def test_in_the_engines_process_optimizers_do_not_load_it_either() -> None:
    run(
        f"from duet_p2p.surface import compiler\ncompiler.stand_in()\n{INFERENCE}{OPTIMIZERS}"
        "assert type(sys.modules['torch._dynamo']) is compiler._StandIn"
    )


@pytest.mark.slow
def test_who_asks_the_stand_in_for_more_gets_the_real_compiler() -> None:
    run(
        "import sys, torch\nfrom duet_p2p.surface import compiler\ncompiler.stand_in()\n"
        "import torch._dynamo.utils\n"
        "assert callable(torch._dynamo.is_compiling)\n"
        "assert type(sys.modules['torch._dynamo']) is not compiler._StandIn\n"
        "double = torch.compile(lambda x: x * 2, backend='eager')\n"
        "assert double(torch.ones(1)).item() == 2"
    )
