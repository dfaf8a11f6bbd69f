"""Ordinary torch that asks nobody: what it does with pointers, and that it is as it was without."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector, rnn, vector_to_parameters

from duet_p2p.errors import NotAllowed, PrivateValueError
from tests.unit.scientist_kit import Pair, pair


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def remote(both: Pair) -> Any:
    return nn.Linear(3, 2).send(both.duet)  # type: ignore[operator]


def test_an_optimizer_of_this_side_is_made_over_there(both: Pair) -> None:
    model = remote(both)
    for params in (model.parameters(), list(model.parameters()), [{"params": [model.weight]}]):
        made = torch.optim.Adam(params, lr=0.1)
        assert type(made) is type(both.duet.torch.optim.Adam(model.parameters()))
        assert torch.optim.lr_scheduler.StepLR(made, 1).get_last_lr() is not None
    assert both.owner.ops.count("torch.optim.Adam") == 6


class OwnLoader(torch.utils.data.DataLoader[Any]):
    """As libraries have them, with a collation of their own."""


def test_a_loader_of_an_owners_data_set_is_made_over_there(both: Pair) -> None:
    """Torch's own began, and failed at the first batch with words about a default_collate."""
    data = torch.utils.data.TensorDataset(torch.arange(12.0))
    numbers = both.duet.torch.utils.data.TensorDataset(both.share(torch.arange(12.0)))
    loader = torch.utils.data.DataLoader(numbers, batch_size=4, pin_memory=False)
    assert type(loader) is type(both.duet.torch.utils.data.DataLoader(numbers, batch_size=4))
    assert [batch[0].shape for batch in loader] == [(4,)] * 3
    with pytest.raises(NotAllowed, match=r"OwnLoader is code of this side.*duet\.torch"):
        OwnLoader(numbers, batch_size=4)
    local = torch.utils.data.Subset(data, [2, 3])
    assert [b.tolist() for (b,) in torch.utils.data.DataLoader(local, batch_size=2)] == [[2.0, 3.0]]
    assert [b.tolist() for (b,) in OwnLoader(local)] == [[2.0], [3.0]]


def test_an_item_of_a_data_set_that_was_not_told_says_how_to_get_one(both: Pair) -> None:
    unknown = both.share([2.5])[0]
    with pytest.raises(TypeError, match=r"was not told.*DataLoader\(data, batch_size=1\)"):
        unknown[0]


@pytest.mark.parametrize("make", [torch.tensor, torch.as_tensor])
def test_a_tensor_of_numbers_that_are_not_here_says_what_makes_one(both: Pair, make: Any) -> None:
    """`torch.tensor([loss, loss])` said something of a 0-d tensor and no more."""
    x = both.share(torch.arange(3.0))
    for numbers in (x, x[0], [x[0], x[1]]):
        with pytest.raises(TypeError, match=r"torch\.stack\(\[…\]\), or get\(\)"):
            make(numbers)


def test_an_array_of_numpy_says_what_to_make_of_it(both: Pair) -> None:
    x, array = both.share(torch.rand(3, 2)), np.ones(2)
    for way in (lambda: x + array, lambda: array + x, lambda: x[:, array > 0]):
        with pytest.raises(NotAllowed, match=r"torch\.as_tensor"):
            way()


def test_numpys_functions_say_that_torch_has_them_too(both: Pair) -> None:
    x = both.share(torch.rand(3))
    number = x.mean().item()
    assert type(number * np.float32(2)) is type(np.float32(2) * number) is type(number)
    for function in (np.sqrt, np.add.reduce, lambda p: np.add(p, 1, where=True)):
        with pytest.raises(PrivateValueError, match=r"numpy\.(sqrt|add) of a pointer.*torch's"):
            function(x)


def test_a_generator_of_pointers_says_what_to_write(both: Pair) -> None:
    model = remote(both)
    with pytest.raises(NotAllowed, match=r"duet\.torch\.optim\.SGD, or a list"):
        torch.optim.SGD((p for p in model.parameters()), lr=0.1)
    local = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(NotAllowed, match="owner's side"):
        local.add_param_group({"params": model.weight})
    assert len(local.param_groups) == 1


class Own(torch.optim.Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {})


class OwnRates(torch.optim.lr_scheduler.LRScheduler):
    pass


def test_code_of_ones_own_does_not_travel(both: Pair) -> None:
    model = remote(both)
    with pytest.raises(NotAllowed, match=r"Own is code of this side.*torch\.no_grad"):
        Own(model.parameters())
    with pytest.raises(NotAllowed, match=r"OwnRates is code of this side.*LambdaLR"):
        OwnRates(torch.optim.SGD(model.parameters(), lr=0.1))  # type: ignore[arg-type]


def test_a_module_is_parametrized_before_it_is_sent(both: Pair) -> None:
    with pytest.raises(NotAllowed, match="parametrize the local module"):
        nn.utils.parametrizations.weight_norm(remote(both))
    old = nn.utils.spectral_norm(nn.Linear(2, 2))
    with pytest.raises(NotAllowed, match=r"take those of nn\.utils\.parametrizations"):
        old.send(both.duet)  # type: ignore[operator]
    copied = copy.deepcopy(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    assert copied.send(both.duet)(both.share(torch.ones(1, 3))).shape == (1, 2)  # type: ignore[operator]


def test_divergences_meet_distributions_of_either_side(both: Pair) -> None:
    x = torch.randn(4, 3)
    there, here = Normal(both.share(x), 1.0), Normal(x, 1.0)
    prior = Normal(torch.zeros(3), 2 * torch.ones(3))
    for p, q, same in ((there, prior, (here, prior)), (prior, there, (prior, here))):
        found = kl_divergence(p, q).get(request_block=True)  # type: ignore[attr-defined]
        torch.testing.assert_close(found, kl_divergence(*same))
    found = kl_divergence(Independent(there, 1), Independent(prior, 1))
    torch.testing.assert_close(
        found.get(request_block=True),  # type: ignore[attr-defined]
        kl_divergence(Independent(here, 1), Independent(prior, 1)),
    )
    torch.testing.assert_close(there.loc.get(request_block=True), x)  # type: ignore[attr-defined]


def test_lengths_of_an_owner_do_not_decide_shapes(both: Pair) -> None:
    x = both.share(torch.randn(4, 2, 3))
    with pytest.raises(NotAllowed, match="get\\(\\) the lengths, or mask"):
        rnn.pack_padded_sequence(x, both.share(torch.tensor([4, 2])))
    with pytest.raises(NotAllowed, match="tensor of this side"):
        sizes: Any = both.share(torch.tensor([2, 1]))
        rnn.pad_packed_sequence(rnn.PackedSequence(x[:, 0], sizes))
    assert both.owner.ops.count("torch.Tensor.flatten") == 0


@pytest.mark.parametrize("lengths", [[2, 4], [4, 0], [4], [4, 2, 1]])
def test_a_mistake_in_lengths_has_torchs_own_words(both: Pair, lengths: list[int]) -> None:
    x = torch.randn(4, 2, 3)
    with pytest.raises(RuntimeError) as here:
        rnn.pack_padded_sequence(x, lengths)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as there:
        rnn.pack_padded_sequence(both.share(x), lengths)
    assert str(there.value) == str(here.value)


def test_an_owners_object_wants_no_gradient_and_says_so_at_the_line(both: Pair) -> None:
    x = both.share(torch.ones(3))
    with pytest.raises(NotAllowed, match=r"x\.clone\(\)\.requires_grad_"):
        x.requires_grad_()
    with pytest.raises(NotAllowed, match="read-only"):
        x.requires_grad = True
    y = x.clone().requires_grad_()
    (y * y).sum().backward()
    assert both.value(y.grad).tolist() == [2.0, 2.0, 2.0]


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override]
        return gradient


def test_what_would_silently_not_run_is_refused(both: Pair) -> None:
    x = both.share(torch.tensor([0.4, 1.6]))
    with pytest.raises(NotAllowed, match=r"Straight\.backward is code of this side"):
        Straight.apply(x)
    leaf = x.clone().requires_grad_()
    (leaf + (leaf.round() - leaf).detach()).sum().backward()
    assert both.value(leaf.grad).tolist() == [1.0, 1.0]
    model, seen = remote(both), []
    with pytest.raises(NotAllowed, match="backward hook would never be called"):
        model.register_full_backward_hook(lambda *_: None)
    model.register_forward_hook(lambda _, __, output: seen.append(output.shape))
    model(both.share(torch.ones(4, 3)))
    assert seen == [(4, 2)]


def test_real_tensors_meet_torchs_own_code(both: Pair) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    x = torch.randn(4, 3)
    optimizer = torch.optim.Adam((p for p in model.parameters()), lr=0.1)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    assert type(optimizer) is torch.optim.Adam
    model(x).sum().backward()
    optimizer.step()
    rates.step()
    assert rates.get_last_lr() == [0.05]
    assert pickle.loads(pickle.dumps(optimizer)).param_groups[0]["lr"] == 0.05
    assert type(copy.deepcopy(Normal(x, 1.0))) is Normal
    assert Normal(x, 1.0).expand((2, 4, 3)).sample().shape == (2, 4, 3)
    assert kl_divergence(Normal(x, 1.0), Normal(x, 1.0)).sum() == 0
    with pytest.raises(NotImplementedError):
        kl_divergence(Normal(x, 1.0), Independent(Normal(x, 1.0), 1))
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    average.update_parameters(model)
    torch.optim.swa_utils.update_bn([x, x], average)
    assert average.n_averaged == 2
    vector_to_parameters(parameters_to_vector(model.parameters()), model.parameters())
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        vector_to_parameters([1.0], model.parameters())  # type: ignore[arg-type]
    assert torch.func.functional_call(model, dict(model.named_parameters()), x).shape == (4, 2)
    nn.utils.parametrizations.weight_norm(model[0])
    assert model(x).shape == (4, 2)
    here = x.clone().requires_grad_()
    Straight.apply(here).sum().backward()
    assert here.grad.eq(1).all()  # type: ignore[union-attr]
    assert not both.owner.ops


@pytest.mark.parametrize("name", ["eye_", "orthogonal_", "sparse_", "trunc_normal_"])
def test_first_weights_are_those_of_local_torch(both: Pair, name: str) -> None:
    more = {"sparsity": 0.5} if name == "sparse_" else {}
    mine, theirs = torch.ones(4, 3), both.duet.torch.ones(4, 3)
    torch.manual_seed(3)
    expected = getattr(nn.init, name)(mine, **more).clone()
    both.duet.torch.manual_seed(3)
    assert getattr(nn.init, name)(theirs, **more) is theirs
    assert torch.equal(theirs.get(), expected)


def test_autocast_and_out_are_refused_at_the_line(both: Pair) -> None:
    x = both.duet.torch.ones(2)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(NotAllowed, match="autocast"):
        x * 2
    with pytest.raises(NotAllowed, match=r"out=.*copy_"):
        torch.add(x, 1, out=x)
    assert both.owner.ops == ["torch.ones"]


def test_a_number_in_a_local_tensor_bounds_a_slice_and_shapes_stay_known(both: Pair) -> None:
    x = both.duet.torch.arange(20)
    assert [x[at : at + 3].shape[0] for at in torch.tensor([2, 18])] == [3, 2]
    with pytest.raises(TypeError, match="single element"):
        x[torch.tensor([1, 2]) :]


def test_places_of_a_condition_are_a_tuple_of_known_length(both: Pair) -> None:
    condition = both.duet.torch.eye(3) > 0
    for rows, columns in (torch.where(condition), condition.nonzero(as_tuple=True)):
        assert torch.equal((rows + columns).get(), torch.tensor([0, 2, 4]))


def test_what_torch_asks_for_by_class_or_dtype_is_found(both: Pair) -> None:
    model = remote(both)
    assert model.get_parameter("weight") is model.weight
    with pytest.raises(AttributeError):
        model.get_parameter("width")
    assert torch.result_type(both.duet.torch.ones(2), both.duet.torch.arange(2)) == torch.float32
