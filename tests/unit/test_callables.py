import subprocess
import sys
from typing import Any

import pytest
import torch

from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.table import TABLE


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    return CALLABLES[name](*args, **kwargs)


def test_there_is_a_callable_for_each_name_and_nothing_else() -> None:
    assert set(CALLABLES) == set(TABLE)
    assert set(TABLE) >= NEEDS_CONTEXT
    with pytest.raises(TypeError):
        CALLABLES["torch.load"] = torch.load  # type: ignore[index]


def test_torchs_own_functions_run_as_they_are() -> None:
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(run("torch.relu", x), torch.relu(x))
    assert torch.equal(run("torch.Tensor.__radd__", x, 1), 1 + x)
    assert run("torch.Tensor.T", torch.zeros(2, 3)).shape == (3, 2)
    assert run("torch.Tensor.shape", x) == torch.Size([2])
    assert run("torch.Tensor.__len__", x) == 2


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("torch.add", (torch.ones(1), torch.ones(1)), {"out": torch.ones(1)}),
        ("torch.norm", (torch.ones(2), 2, 0, False, torch.ones(1)), {}),
        ("torch.tensordot", (torch.ones(2), torch.ones(2), 1, torch.ones(1)), {}),
        ("torch.rand", (2,), {"generator": torch.Generator()}),
        ("torch.gather", (torch.ones(2), 0, torch.tensor([0])), {"sparse_grad": True}),
        ("torch.zeros", (2,), {"layout": torch.sparse_coo}),
        ("torch.zeros", (2,), {"device": "meta"}),
        ("torch.zeros", (2,), {"device": torch.device("meta")}),
        ("torch.Tensor.to", (torch.ones(1), "meta"), {}),
        ("torch.Tensor.type", (torch.ones(1), "torch.sparse.FloatTensor"), {}),
        ("torch.device", ("meta",), {}),
        ("torch.Tensor.view", (torch.ones(1, dtype=torch.uint8), torch.bool), {}),
        ("torch.Tensor.view", (torch.ones(1),), {"dtype": torch.bool}),
        ("torch.relu", ("text",), {}),
        ("torch.Tensor", (3,), {}),
        ("torch.Tensor", (2, 3), {}),
        ("torch.Tensor", (torch.Size([3]),), {}),
        ("torch.LongTensor", (3,), {}),
        ("torch.nn.Parameter", ([1.0],), {}),
        ("torch.nn.functional.embedding", (torch.tensor([0]), torch.ones(2, 2)), {"sparse": 1}),
        ("torch.embedding", (torch.ones(2, 2), torch.tensor([0])), {"sparse": True}),
        ("torch.optim.Adam", ([torch.ones(1, requires_grad=True)],), {"fused": True}),
        ("torch.optim.Adam", ([{"params": [torch.ones(1)], "fused": True}],), {}),
        ("torch.repeat_interleave", (torch.ones(2), 2), {"output_size": 5}),
        ("torch.searchsorted", (torch.ones(2), torch.ones(2)), {"sorter": torch.tensor([9, 9])}),
        ("torch.Tensor.__and__", (torch.tensor(True), [1]), {}),
        ("torch.optim.Optimizer.step", (torch.ones(1),), {}),
        ("torch.optim.Optimizer.state_dict", ({},), {}),
    ],
)
def test_what_was_not_reviewed_is_refused(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        run(name, *args, **kwargs)


def test_closed_keywords_may_be_given_as_none() -> None:
    assert run("torch.rand", 2, generator=None).shape == (2,)
    assert run("torch.nn.init.zeros_", tensor=torch.ones(2)).sum() == 0
    assert (
        run("torch.nn.init.uniform_", tensor=torch.ones(2), a=2.0, b=3.0, generator=None).min() >= 2
    )


def test_legacy_constructors_take_tensors_and_lists() -> None:
    assert torch.equal(run("torch.Tensor", [[1, 2]]), torch.tensor([[1.0, 2.0]]))
    assert run("torch.Tensor", torch.tensor([3])).dtype == torch.float32
    assert run("torch.LongTensor", [1]).dtype == torch.int64


@pytest.mark.parametrize("how", ["data", "data="])
def test_a_target_that_was_checked_cannot_be_swapped_before_backward(how: str) -> None:
    # nll_loss checks its targets forward, not backward; torch's own .data goes around the version
    x = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([0, 1, 2, 0])
    loss = run("torch.nn.functional.nll_loss", x, target)
    if how == "data":
        run("torch.Tensor.fill_", run("torch.Tensor.data", target), 10**9)
    else:
        run("torch.Tensor.data=", target, torch.full((4,), 10**9))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run("torch.Tensor.backward", loss)


def test_data_is_the_tensor_without_its_graph() -> None:
    weight = torch.ones(2, requires_grad=True)
    data = run("torch.Tensor.data", weight)
    assert not data.requires_grad
    run("torch.Tensor.sub_", data, 0.5)
    assert weight.tolist() == [0.5, 0.5]
    run("torch.Tensor.data=", weight, torch.zeros(2))
    assert weight.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="another shape"):
        run("torch.Tensor.data=", weight, torch.zeros(3))


def test_gradients_can_be_read_set_and_cleared() -> None:
    weight = torch.ones(2, requires_grad=True)
    run("torch.Tensor.backward", (weight * 3).sum())
    assert run("torch.Tensor.grad", weight).tolist() == [3.0, 3.0]
    run("torch.Tensor.grad=", weight, None)
    assert weight.grad is None
    run("torch.Tensor.requires_grad=", weight, False)
    assert not weight.requires_grad
    with pytest.raises(TypeError):
        run("torch.Tensor.grad=", weight, 3)


def test_manual_seed_seeds_and_gives_nothing() -> None:
    state = torch.get_rng_state()
    try:
        assert run("torch.manual_seed", 7) is None
        first = run("torch.rand", 3)
        torch.manual_seed(7)
        assert torch.equal(first, torch.rand(3))
    finally:
        torch.set_rng_state(state)


OPTIMIZERS = [
    n
    for n in TABLE
    if n.startswith("torch.optim.") and n.count(".") == 2 and n != "torch.optim.Optimizer"
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_is_made_and_steps(name: str) -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = run(name, [parameter], lr=0.1)
    assert torch.optim.Optimizer in type(optimizer).__mro__
    if name.endswith("LBFGS"):
        return  # needs a closure, which does not travel
    gradient = torch.ones(2, 2)
    parameter.grad = gradient.to_sparse() if name.endswith("SparseAdam") else gradient
    run("torch.optim.Optimizer.step", optimizer)
    assert not torch.equal(parameter.detach(), torch.ones(2, 2))
    run("torch.optim.Optimizer.zero_grad", optimizer)
    assert parameter.grad is None
    state = run("torch.optim.Optimizer.state_dict", optimizer)
    run("torch.optim.Optimizer.load_state_dict", optimizer, state)


def test_a_loaded_state_cannot_switch_to_fused_kernels() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = run("torch.optim.Adam", [parameter], lr=0.1)
    state = run("torch.optim.Optimizer.state_dict", optimizer)
    state["param_groups"][0]["fused"] = True
    run("torch.optim.Optimizer.load_state_dict", optimizer, state)
    with pytest.raises(ValueError, match="fused"):
        run("torch.optim.Optimizer.step", optimizer)


SCHEDULERS: dict[str, dict[str, Any]] = {
    "ConstantLR": {},
    "CosineAnnealingLR": {"T_max": 5},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2},
    "ExponentialLR": {"gamma": 0.5},
    "LinearLR": {},
    "MultiStepLR": {"milestones": [1, 2]},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": 10},
    "PolynomialLR": {},
    "StepLR": {"step_size": 1, "gamma": 0.7},
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_scheduler_steps_and_keeps_its_state(name: str) -> None:
    def make() -> tuple[Any, Any]:
        parameter = torch.nn.Parameter(torch.ones(1))
        optimizer = run("torch.optim.SGD", [parameter], lr=0.1, momentum=0.9)
        return optimizer, run(f"torch.optim.lr_scheduler.{name}", optimizer, **SCHEDULERS[name])

    optimizer, scheduler = make()
    run("torch.optim.Optimizer.step", optimizer)
    run("torch.optim.lr_scheduler.LRScheduler.step", scheduler)
    restored, other = make()
    saved = run("torch.optim.Optimizer.state_dict", optimizer)
    run("torch.optim.Optimizer.load_state_dict", restored, saved)
    state = run("torch.optim.lr_scheduler.LRScheduler.state_dict", scheduler)
    run("torch.optim.lr_scheduler.LRScheduler.load_state_dict", other, state)
    for each in (scheduler, other):
        run("torch.optim.lr_scheduler.LRScheduler.step", each)
    last = "torch.optim.lr_scheduler.LRScheduler.get_last_lr"
    assert run(last, scheduler) == run(last, other)


def test_a_schedulers_state_takes_numbers_of_its_own_keys_only() -> None:
    optimizer = run("torch.optim.SGD", [torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = run("torch.optim.lr_scheduler.StepLR", optimizer, 1)
    load = "torch.optim.lr_scheduler.LRScheduler.load_state_dict"
    good = run("torch.optim.lr_scheduler.LRScheduler.state_dict", scheduler)
    for bad in ({**good, "optimizer": 1}, {**good, "gamma": optimizer}, {"gamma": 0.1}, [1]):
        with pytest.raises((TypeError, ValueError)):
            run(load, scheduler, bad)


def test_plateau_compares_on_this_side() -> None:
    optimizer = run("torch.optim.SGD", [torch.nn.Parameter(torch.ones(1))], lr=1.0)
    name = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    scheduler = run(name, optimizer, patience=0, factor=0.5)
    for loss in (1.0, torch.tensor(2.0)):
        run("torch.optim.lr_scheduler.LRScheduler.step", scheduler, loss)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("torch.repeat_interleave", (torch.ones(10), 10**12), {}),
        ("torch.repeat_interleave", (torch.ones(2), torch.tensor([1, 10**12])), {}),
        ("torch.repeat_interleave", (torch.tensor([1, 10**12]),), {}),
        ("torch.bincount", (torch.tensor([10**9]),), {}),
        ("torch.bincount", (torch.tensor([1]),), {"minlength": 10**12}),
        ("torch.nn.functional.one_hot", (torch.tensor([10**12]),), {}),
        ("torch.nn.functional.one_hot", (torch.tensor([0]), 10**12), {}),
    ],
)
def test_sizes_that_values_decide_are_admitted_first(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(QuotaExceeded):
        run(name, *args, **kwargs)


def test_checked_functions_work_within_their_ranges() -> None:
    assert run("torch.repeat_interleave", torch.tensor([1, 2]), 2).tolist() == [1, 1, 2, 2]
    assert run("torch.repeat_interleave", torch.tensor([2, 1])).tolist() == [0, 0, 1]
    assert run("torch.bincount", torch.tensor([0, 2, 2])).tolist() == [1, 0, 2]
    one_hot = run("torch.nn.functional.one_hot", torch.tensor([0, 2]))
    assert one_hot.tolist() == [[1, 0, 0], [0, 0, 1]]
    x = torch.arange(6.0).reshape(2, 3)
    assert run("torch.gather", x, 1, torch.tensor([[2], [0]])).tolist() == [[2.0], [3.0]]
    assert run("torch.take", x, torch.tensor([-1, 0])).tolist() == [5.0, 0.0]
    assert run("torch.Tensor.scatter_", x.clone(), 1, torch.tensor([[0]]), 9.0)[0, 0] == 9
    assert run("torch.nn.functional.embedding", torch.tensor([1]), x).tolist() == [[3.0, 4.0, 5.0]]


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_recurrent_layers_run_as_the_modules_call_them(kind: str, both_ways: bool) -> None:
    cls = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(kind, torch.nn.RNN)
    options = {"nonlinearity": kind.removeprefix("rnn_")} if cls is torch.nn.RNN else {}
    net = cls(3, 5, num_layers=2, bidirectional=both_ways, **options)
    x, hidden = torch.randn(4, 2, 3), torch.zeros(4 if both_ways else 2, 2, 5)
    state = (hidden, hidden) if kind == "lstm" else hidden
    weights = [w for group in net.all_weights for w in group]
    result = run(f"torch.{kind}", x, state, weights, True, 2, 0.0, False, both_ways, False)
    expected = net(x)
    assert torch.allclose(result[0], expected[0])


def test_recurrent_layers_refuse_parameters_of_other_shapes() -> None:
    weights = [torch.ones(20, 3), torch.ones(20, 5), torch.ones(20), torch.ones(20)]
    hidden = (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))
    x = torch.ones(4, 2, 3)
    flags = (True, 1, 0.0, False, False, False)
    run("torch.lstm", x, hidden, weights, *flags)
    for place in range(4):
        bad = [w[:-1] if i == place else w for i, w in enumerate(weights)]
        with pytest.raises((ValueError, TypeError)):
            run("torch.lstm", x, hidden, bad, *flags)


def test_packed_sequences_run_within_their_rows_and_not_past_them() -> None:
    net = torch.nn.LSTM(3, 5)
    weights, x, hidden = net.all_weights[0], torch.randn(6, 3), torch.zeros(1, 3, 5)
    flags = (True, 1, 0.0, False, False)
    sizes = torch.tensor([3, 2, 1])
    rows = torch.nn.utils.rnn.PackedSequence(x, sizes)
    found = run("torch.lstm", x, sizes, (hidden, hidden), weights, *flags)
    assert torch.equal(found[0], net(rows)[0].data)
    for bad in ([3, 2, 2], [3, 2], [3, 1, 2], [3, 3, 0], [7, -1, 0], [3, 2, 1, 0], [10**6], []):
        with pytest.raises((ValueError, TypeError)):
            run("torch.lstm", x, torch.tensor(bad), (hidden, hidden), weights, *flags)
    for odd in (sizes.int(), sizes.float(), sizes.view(3, 1), [3, 2, 1]):
        with pytest.raises((ValueError, TypeError)):
            run("torch.lstm", x, odd, (hidden, hidden), weights, *flags)
    with pytest.raises(ValueError):  # a state of another batch
        run("torch.lstm", x, sizes, (hidden[:, :2], hidden[:, :2]), weights, *flags)
    with pytest.raises((ValueError, TypeError)):
        run("torch.lstm", torch.ones(4, 2, 3), sizes, (hidden, hidden), weights, *flags)


HOSTILE = r"""
import itertools, sys
import torch
from duet_p2p.surface.callables import CALLABLES
torch.manual_seed(0)
f, i = torch.randn(4, 6), torch.int64
def bad(value, shape):
    return torch.full(shape, value, dtype=i)
calls = {
    "torch.gather": lambda v: (f, 1, bad(v, (4, 2))),
    "torch.gru": lambda v: (
        f, torch.tensor([2, v]), torch.ones(1, 2, 2),
        [torch.ones(6, 6), torch.ones(6, 2), torch.ones(6), torch.ones(6)],
        True, 1, 0.0, False, False,
    ),
    "torch.Tensor.scatter_": lambda v: (f.clone(), 1, bad(v, (4, 2)), 1.0),
    "torch.Tensor.scatter_add_": lambda v: (f.clone(), 1, bad(v, (4, 2)), f),
    "torch.index_select": lambda v: (f, 0, bad(v, (2,))),
    "torch.Tensor.index_add_": lambda v: (f.clone(), 0, bad(v, (2,)), f[:2]),
    "torch.Tensor.index_copy_": lambda v: (f.clone(), 0, bad(v, (2,)), f[:2]),
    "torch.Tensor.index_fill_": lambda v: (f.clone(), 0, bad(v, (2,)), 1.0),
    "torch.Tensor.index_put_": lambda v: (f.clone(), (bad(v, (2,)),), f[:2]),
    "torch.index_put": lambda v: (f, (bad(v, (2,)),), f[:2], True),
    "torch.Tensor.__getitem__": lambda v: (f, bad(v, (2,))),
    "torch.Tensor.__setitem__": lambda v: (f.clone(), bad(v, (2,)), 1.0),
    "torch.take": lambda v: (f, bad(v, (2,))),
    "torch.Tensor.put_": lambda v: (f.clone(), bad(v, (2,)), f[0, :2]),
    "torch.nn.functional.embedding": lambda v: (bad(v, (2,)), f),
    "torch.nn.functional.nll_loss": lambda v: (f, bad(v, (4,))),
    "torch.nn.functional.cross_entropy": lambda v: (f, bad(v, (4,))),
    "torch.nn.functional.multi_margin_loss": lambda v: (f, bad(v, (4,))),
    "torch.nn.functional.multilabel_margin_loss": lambda v: (f, bad(v, (4, 6))),
    "torch.nn.functional.one_hot": lambda v: (bad(v, (2,)), 6),
    "torch.bincount": lambda v: (bad(v, (2,)),),
    "torch.select": lambda v: (f, 0, v),
    "torch.narrow": lambda v: (f, 0, v, 2),
    "torch.topk": lambda v: (f, v),
    "torch.kthvalue": lambda v: (f, v),
    "torch.diagonal": lambda v: (f, v),
    "torch.Tensor.unfold": lambda v: (f, 0, v, 1),
    "torch.tensor_split": lambda v: (f, bad(v, (2,))),
    "torch.nn.functional.max_pool1d": lambda v: (f, v),
    "torch.max_pool1d": lambda v: (f, v),
    "torch.nn.functional.max_pool2d": lambda v: (f.expand(1, 4, 6), v),
    "torch.nn.functional.conv1d": lambda v: (f, torch.ones(1, 4, 1), None, 1, 0, v),
    "torch.nn.functional.adaptive_avg_pool1d": lambda v: (f, v if abs(v) > 10**7 else -1),
    "torch.nn.functional.avg_pool1d": lambda v: (f, v),
    "torch.nn.functional.fold": lambda v: (f.expand(1, 4, 6), v, 2),
    "torch.nn.functional.unfold": lambda v: (f.expand(1, 1, 4, 6), v),
    "torch.nn.functional.pixel_shuffle": lambda v: (f.expand(1, 4, 6).unsqueeze(0), v),
    "torch.distributions.Distribution.log_prob": lambda v: (
        torch.distributions.Categorical(logits=f, validate_args=False), bad(v, (4,))
    ),
    "torch.utils.data.Subset": lambda v: (torch.utils.data.TensorDataset(f), [v]),
    "torch.utils.data.Dataset.__getitem__": lambda v: (torch.utils.data.TensorDataset(f), v),
    "torch.distributions.Distribution.sample": lambda v: (
        torch.distributions.Normal(f, 1.0), (v if abs(v) > 10**7 else -1,)
    ),
    "torch.distributions.LKJCholesky": lambda v: (v if abs(v) > 10**5 else -1,),
    "torch.distributions.Independent": lambda v: (torch.distributions.Normal(f, 1.0), v),
}
# beyond the last place these give nothing, or what is really there
fine = {"torch.diagonal", "torch.tensor_split", "torch.nn.functional.conv1d"}
in_range = {"torch.topk": 6, "torch.kthvalue": 6, "torch.bincount": 5_000_000}
for name, make in calls.items():
    for value in (-7, -1 - 2**62, 6, 5_000_000, 2_000_000_000, 2**62):
        try:
            result = CALLABLES[name](*make(value))
        except Exception as error:
            assert type(error).__name__ != "SystemError", name
        else:
            if name in fine or 0 <= value <= in_range.get(name, -1) or (
                name in ("torch.take", "torch.Tensor.put_") and -24 <= value < 24
            ) or ("pool" in name and value == 6):
                continue
            print("TAKEN", name, value, flush=True)
print("SURVIVED")
"""


@pytest.mark.parametrize("perturb", ["0", pytest.param("165", marks=pytest.mark.slow)])
def test_hostile_integers_end_in_errors_and_kill_no_process(perturb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOSTILE],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"MALLOC_PERTURB_": perturb, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "SURVIVED", done.stdout + done.stderr[-2000:]
    assert done.returncode == 0


def test_pooled_indices_cannot_be_changed_before_backward() -> None:
    x = torch.randn(1, 1, 8, requires_grad=True)
    output, indices = run("torch.nn.functional.max_pool1d", x, 2, return_indices=True)
    run("torch.Tensor.fill_", indices, 10**9)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run("torch.Tensor.backward", output.sum())


def test_the_engine_part_does_not_load_the_network_pandas_or_torchvision() -> None:
    code = (
        "import sys, duet_p2p.surface.callables, duet_p2p.surface.shapes, duet_p2p.surface.names;"
        "print([m for m in ('aiortc', 'aiohttp', 'pandas', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_texts_are_taken_where_torch_takes_them() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert run("torch.device", "cpu").type == "cpu"
    assert run("torch.device.type", torch.device("cuda:1")) == "cuda"
    assert run("torch.Tensor.to", x, "cpu") is x
    assert run("torch.Tensor.type", x) == "torch.FloatTensor"
    assert run("torch.Tensor.type", x, "torch.DoubleTensor").dtype == torch.float64
    assert run("torch.einsum", "ij->i", x).tolist() == [3.0, 8.0]
    assert run("torch.div", x, 2, rounding_mode="floor")[1].tolist() == [1.0, 2.0]
    assert run("torch.norm", x, "fro") > 6
    assert run("torch.linalg.norm", x, "nuc") > 6
    assert run("torch.nn.functional.mse_loss", x, x, reduction="sum") == 0
    assert run(
        "torch.nn.functional.conv2d", x[None, None], torch.ones(1, 1, 1, 1), None, 1, "same"
    ).sum()
    assert run("torch.nn.functional.pad", x, (1, 1), "reflect").shape == (2, 4)
    assert len(run("torch.meshgrid", x[0], x[1], indexing="ij")) == 2
    assert run("torch.zeros", 2, device="cpu").shape == (2,)
    assert run("torch.nn.init.kaiming_uniform_", x.clone(), 1.0, "fan_in", "relu").shape == (2, 2)
