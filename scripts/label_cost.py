"""What the labels of one operation cost: ``python scripts/label_cost.py``.

Times an operation's labels on the owner's side alone: the verdict, its application, and the node
and form of the result, for a private operand with records and a public number.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from duet_p2p.engine import judge as judging
from duet_p2p.engine.arguments import resolve
from duet_p2p.engine.engine import Engine
from duet_p2p.engine.messages import Configure, Share
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.values import pack
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

REPEATS, ROUNDS = 2_000, 7


def main() -> None:
    """Prints microseconds of CPU per operation."""
    engine = Engine()
    engine.handle(Configure({}, {}, 1))
    packed = pack(torch.rand(64, 8))
    data = b"".join(packed.buffers)
    engine.handle(Share(-1, packed.value, data, "torch.Tensor", (), "", True))
    executor = engine._executor
    assert executor is not None
    op = Op("torch.Tensor.__add__", (1,), (Ref(-1), 1.0), {}, "g")
    rule = TABLE[op.name]
    given = resolve(op, engine.store)
    result = given.args[0] + 1.0

    def labels() -> None:
        given.forget()
        origin = executor.provenance.before(op, rule, given, [], private=True)
        verdict = judging.judge(rule.name, rule, given, result, engine.lineage)
        judging.apply(verdict, result, given, frozenset(), engine.lineage)
        node = executor.provenance.after(op, rule, given, result, origin, [])
        list(executor.provenance.results(node, [result]))

    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(REPEATS):
            labels()
        rounds.append((time.process_time() - begin) / REPEATS * 1e6)
    print(f"labels: {median(rounds):.1f} us of CPU per operation (least {min(rounds):.1f})")


if __name__ == "__main__":
    main()
