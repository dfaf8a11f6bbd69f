"""Programs with settings and graphs that a number of one of two data sets does not fit."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.failing_kit import SCHED, C, L, M, N, P, Programs, broken, last, weights, whole
from tests.security.neighbour_kit import OPT, F, T

PROGRAMS = Programs()
program = PROGRAMS.program


# numbers that settings do not take


@program
def a_learning_rate_that_is_none(p: Any) -> list[Ref]:
    made: list[Ref] = []
    rate = p.op("python.Float", last(p, P))
    for name, settings in (
        ("SGD", {"lr": rate}),
        ("Adam", {"lr": rate}),
        ("Adam", {"lr": 0.1, "betas": [0.9, rate]}),
        ("RMSprop", {"lr": 0.1, "eps": rate}),
        ("LBFGS", {"lr": rate}),
    ):
        w = weights(p, 2)
        optimizer = p.op(f"torch.optim.{name}", [w], **settings)
        p.do(T + "backward", p.op("torch.sum", p.op("torch.square", w)))
        p.do(OPT + "step", optimizer)
        p.do(OPT + "zero_grad", optimizer)
        state = p.op(OPT + "state_dict", optimizer)
        scheduler = p.op(SCHED + "StepLR", optimizer, 1)
        p.do(SCHED + "LRScheduler.step", scheduler)
        made += [
            w,
            p.op(T + "grad", w),
            optimizer,
            state,
            p.op("python.len", state),
            p.op(OPT + "param_groups", optimizer),
            scheduler,
            p.op(SCHED + "LRScheduler.last_epoch", scheduler),
        ]
    return made


@program
def a_loss_that_is_no_number_trained_on(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for name in ("SGD", "Adam", "Adagrad"):
        w = weights(p, 4)
        optimizer = p.op(f"torch.optim.{name}", [w], lr=0.1)
        plateau = p.op(SCHED + "ReduceLROnPlateau", optimizer, patience=0)
        for _ in range(2):
            loss = p.op("torch.dot", w, N)
            p.do(OPT + "zero_grad", optimizer)
            p.do(T + "backward", loss)
            p.ops("torch.nn.utils.clip_grad_norm_", 1, [w], 1.0, 2.0, True)
            p.do(OPT + "step", optimizer)
            p.do(SCHED + "LRScheduler.step", plateau, loss)
        state = p.op(OPT + "state_dict", optimizer)
        made += [
            w,
            p.op(T + "grad", w),
            state,
            p.op("python.Dict.__getitem__", state, "state"),
            p.op(SCHED + "LRScheduler.state_dict", plateau),
            p.op(SCHED + "LRScheduler.last_epoch", plateau),
            p.op(SCHED + "LRScheduler.get_last_lr", plateau),
        ]
    return made


@program
def a_closure_that_fails(p: Any) -> list[Ref]:
    w = weights(p, 3, 1)
    optimizer = p.op("torch.optim.LBFGS", [w], lr=0.5, max_iter=3)
    steps = (
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
        wire.PlanStep(L + "solve", (4,), (Ref(2), Ref(1)), {}, "g"),
        wire.PlanStep("torch.sum", (5,), (Ref(4),), {}, "g"),
        wire.PlanStep(T + "backward", (), (Ref(5),), {}, "g"),
    )
    plan, out = p.new_id(), p.new_id()
    p.send(wire.DefinePlan(plan, "p", 0, (w.id, M.id, optimizer.id), steps, (5,), True))
    p.send(wire.RunClosure(plan, optimizer.id, out))
    state = p.op(OPT + "state_dict", optimizer)
    inner = p.op("python.Dict.__getitem__", state, "state")
    return [Ref(out), w, p.op(T + "grad", w), optimizer, state, inner, p.op("python.len", inner)]


@program
def settings_out_of_range(p: Any) -> list[Ref]:
    chance, one = p.op("python.Float", last(p, P)), whole(p)
    image = p.put(torch.ones(1, 1, 4, 4, requires_grad=True))
    kernel = p.put(torch.ones(1, 1, 2, 2, requires_grad=True))
    return [
        p.op(F + "conv2d", image, kernel, None, one),
        p.op(F + "max_pool2d", image, one),
        p.op(F + "avg_pool2d", image, one),
        p.op(F + "interpolate", image, scale_factor=chance),
        p.op(F + "group_norm", image, one),
        p.op(F + "pixel_shuffle", image, one),
        p.op("torch.linspace", 0.0, 1.0, one),
        p.op("torch.full", [2], chance, dtype=Dtype("uint8")),
        p.op("torch.arange", 0, 3, chance),
        p.op("torch.eye", p.op("python.Int.__sub__", one, 2)),
        p.op(F + "normalize", image, chance),
        p.op("torch.renorm", M, chance, 0, 1.0),
        p.op("torch.clamp", image, chance, 0.1),
        p.op(F + "hardshrink", image, chance),
        p.op(F + "pairwise_distance", M, M, chance),
        image,
        kernel,
    ]


@program
def a_fake_quantization(p: Any) -> list[Ref]:
    scale, zero = p.op("python.Float", last(p, P)), p.op("python.Int.__mul__", whole(p), 100)
    own = weights(p, 4)
    return [
        p.op("torch.fake_quantize_per_tensor_affine", own, scale, zero, 0, 255),
        p.op("torch.fake_quantize_per_channel_affine", own, P, p.op(T + "int", C), 0, 0, 255),
        own,
    ]


@program
def converted_types(p: Any) -> list[Ref]:
    return [p.op(T + name, N) for name in ("int", "long", "bool", "byte", "to_sparse", "char")] + [
        p.op("torch.result_type", last(p, N), 1),
        p.op(T + "item", last(p, N)),
        p.op("torch.scalar_tensor", broken(p)),
        p.op(T + "new_full", N, [2], p.op("python.Int", broken(p))),
    ]


# graphs


@program
def graphs_behind_failures(p: Any) -> list[Ref]:
    w = weights(p, 3, 3)
    inner = p.op(L + "inv", p.op("torch.mul", w, M))
    p.do(T + "retain_grad", inner)
    loss = p.op("torch.sum", inner)
    grads = p.ops("torch.autograd.grad", 1, loss, [w], retain_graph=True)
    p.do(T + "backward", loss)
    p.do(T + "backward", loss)
    second = p.op("torch.mean", inner)
    p.do(T + "backward", second)
    mixed = p.op("torch.where", p.op(T + "__gt__", M, 1.0), w, inner)
    return [
        inner,
        loss,
        *grads,
        p.op(T + "grad", w),
        p.op(T + "grad", inner),
        second,
        mixed,
        p.op(T + "is_leaf", inner),
        p.op(T + "requires_grad", mixed),
        w,
    ]


@program
def an_own_tensor_in_a_graph_after_a_failed_write(p: Any) -> list[Ref]:
    w, own = weights(p, 3, 3), p.put(torch.zeros(3, 3))
    squared = p.op("torch.square", own)
    p.do(T + "add_", own, p.op(L + "inv", p.op("torch.mul", w, M)))
    p.do(T + "mul_", own, w)
    p.do(T + "backward", p.op("torch.sum", own))
    return [own, squared, p.op(T + "grad", w), p.op(T + "requires_grad", own)]


@program
def written_after_it_was_saved(p: Any) -> list[Ref]:
    """Whether a later write breaks a graph depends on what failed only if something shows it."""
    w, own = weights(p, 3, 3), p.put(torch.ones(3, 3))
    loss = p.op("torch.sum", p.op("torch.mul", w, own))
    p.do(L + "inv", M, out=own)
    p.do(T + "add_", own, p.op(L + "cholesky", M))
    p.do(T + "backward", loss)
    return [loss, own, p.op(T + "grad", w)]
