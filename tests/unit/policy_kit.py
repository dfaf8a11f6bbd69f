"""Facts, handlers and policies, in few words."""

from dataclasses import replace

from duet_p2p.engine.messages import Facts
from duet_p2p.owner.handlers import (
    Case,
    Conditions,
    Handler,
    normal_name,
    tag_filter,
)
from duet_p2p.owner.policy import Policy

LOSS = Facts(
    kind="aggregate",
    sources=(-1,),
    min_records=64,
    injected=False,
    elements=1,
    nbytes=4,
    type="torch.Tensor",
    shape=(),
    dtype="float32",
    tags=("digits", "nll_loss"),
    recipe="torch.nn.functional.nll_loss(out, batch of 64 of store['x'])",
    version=1,
    failed="",
    failed_seq=0,
    failed_op="",
    failed_code="",
    failed_is_public=False,
    form="form of the loss",
)
RAW = replace(LOSS, kind="verbatim", min_records=1, elements=60_000, recipe="store['digits']")
MODEL = replace(LOSS, kind="model", elements=1_199_882, min_records=32, shape=None, recipe="state")


def handler(action="accept", **said):
    made = {k: said.pop(k) for k in ("print_local", "element_quota", "timeout_secs") if k in said}
    created = said.pop("created_at", 0.0)
    for key in ("kinds", "sources"):
        if key in said:
            said[key] = frozenset(said[key])
    if "tags" in said:
        said["tags"] = tag_filter(said["tags"])
    if "name" in said:
        said["name"] = normal_name(said["name"])
    return Handler(action=action, conditions=Conditions(**said), created_at=created, **made)


def case(facts=LOSS, name="loss", **changes):
    return Case(name, replace(facts, **changes))


def policy(*handlers, **settings):
    made = Policy(**settings)
    for one in handlers:
        made.add(one)
    return made


def decide(p, c, now=0.0):
    return p.decide(c, now)
