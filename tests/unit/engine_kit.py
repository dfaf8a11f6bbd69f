"""An engine that is driven by plain calls: `run` gives ids, `facts` what the owner would see."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import in_memory
from duet_p2p.engine.engine import Engine
from duet_p2p.surface.values import from_wire, pack, to_wire
from duet_p2p.wire.messages import Del, Op, Put
from duet_p2p.wire.values import Ref

CONFIGURE = m.Configure({}, {}, None)


class Driver:
    def __init__(self, quotas: dict[str, int] | None = None, dirs: dict[str, str] | None = None):
        self.engine = Engine()
        (self.started,) = self.engine.handle(m.Configure(quotas or {}, dirs or {}, None))
        self.events: list[Any] = []
        self.seq = 0
        self.next_id = 0
        self.next_call = 0
        self.shared = 0

    def share(
        self, value: Any, type: str = "torch.Tensor", *, tags=(), public: bool = True,
        record_axis: int | None = 0, keys_public: bool = False,
    ) -> Ref:  # fmt: skip
        self.shared -= 1
        packed = pack(value)
        data = b"".join(packed.buffers) if packed.nbytes else None
        (event,) = self.engine.handle(
            m.Share(
                self.shared, packed.value, data, type, tuple(tags), "", public, record_axis,
                keys_public,
            )
        )  # fmt: skip
        assert not event.error, event.error
        return Ref(self.shared)

    def put(self, value: Any) -> Ref:
        self.next_id += 1
        self.send(Put((self.next_id,), (to_wire(value, None, 1 << 30),), None))
        return Ref(self.next_id)

    def send(self, command: Any) -> list[Any]:
        self.seq += 1
        events = self.engine.handle(m.Run(((self.seq, command),)))
        self.events += events
        return events

    def run(self, name: str, *args: Any, outs: int = 1, mode: str = "g", **kwargs: Any) -> Any:
        ids = tuple(range(self.next_id + 1, self.next_id + 1 + outs))
        self.next_id += outs
        self.last = self.send(Op(name, ids, self._wire(args), dict(self._wire(kwargs)), mode))
        refs = [Ref(id) for id in ids]
        return refs[0] if outs == 1 else refs

    def ok(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run something that must work."""
        result = self.run(name, *args, **kwargs)
        assert not self.failures(), self.failures()
        return result

    def failures(self) -> list[m.OpFailed]:
        return [event for event in self.last if isinstance(event, m.OpFailed)]

    def failed(self, name: str, *args: Any, **kwargs: Any) -> m.OpFailed:
        """Run something that must fail; the failure."""
        self.run(name, *args, **kwargs)
        (failure,) = self.failures()
        return failure

    @staticmethod
    def _wire(value: Any) -> Any:
        return to_wire(value, None, 1 << 30, refer=lambda v: v if isinstance(v, Ref) else None)

    def delete(self, *refs: Ref) -> list[Any]:
        return self.send(Del(tuple(ref.id for ref in refs)))

    def facts(self, ref: Ref) -> m.Facts:
        return self.candidate(ref).facts

    def candidate(self, ref: Ref) -> m.Candidate:
        self.next_call += 1
        (event,) = self.engine.handle(m.Snapshot(self.next_call, ref.id))
        return event

    def release(self, ref: Ref) -> Any:
        call = self.candidate(ref).call
        (event,) = self.engine.handle(m.Release(call))
        assert isinstance(event, m.Bytes), event
        return from_wire(event.value, in_memory(event.data))

    def label(self, ref: Ref) -> tuple[str, int, bool]:
        facts = self.facts(ref)
        return facts.kind, facts.min_records, facts.injected


def digits(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 10, (count,), generator=generator)
    return images, targets
