# %% [markdown]
# # Actor and critic, the owner's side
#
# The world is yours: a corridor of 8 rooms with a prize in one of them. A scientist's agent walks
# through it without ever seeing a room; the moves and rewards are tensors here.

# %%
import time

import torch

import duet_p2p as sy

# Much of this training takes a time that depends on private values, which is limited per minute.
duet = sy.launch_duet(limits={"timed_per_minute": 100_000})

# %% [markdown]
# `moves[room, action]` is the next room, `rewards[room, action]` what that step pays: 1 in
# the prize's room, less and less away from it.

# %%
ROOMS, PRIZE = 8, 4
room = torch.arange(ROOMS)
moves = torch.stack([(room - 1).clamp(min=0), (room + 1).clamp(max=ROOMS - 1)], dim=1)
rewards = 1 - (moves - PRIZE).abs() / 2
moves.tag("moves").describe("next room, for left and right").send(duet)
rewards.tag("rewards").describe("what a step pays").send(duet)

# %% [markdown]
# There are no records to hide in here: every number tells about the world. What an episode paid in all
# is fine with you, at most once per episode. The trained agent is not: it would show where the prize is.

# %%
duet.requests.add_handler(
    name="return",
    action="accept",
    kinds={"verbatim", "per_record", "aggregate"},
    min_records=1,
    allow_injected=True,
    max_uses=100,
    print_local=True,
)
duet.requests.add_handler(name="agent", action="deny")

# %% [markdown]
# The scientist collects private numbers in a list and makes a tensor of it. How many they are, it has to
# ask, once per episode.

# %%
duet.requests.add_handler(
    name="len",
    action="accept",
    kinds={"metadata", "per_record"},
    min_records=1,
    allow_injected=True,
    max_uses=100,
)

# %%
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers", flush=True)
        for look in duet.requests.explain(request):
            print(f"  {look}", flush=True)
        request.deny("only what an episode paid")
    time.sleep(0.05)
duet.close()

# %% [markdown]
# What was asked for, and what the guard knew about it.

# %%
for name, kind, records, injected in sorted(
    {(r.name, r.kind, r.min_records, r.injected) for r in duet.requests.history}
):
    print(f"{name}: {kind}, {records} record(s){', scientist values mixed in' if injected else ''}")
denied = {r.name for r in duet.requests.history if "Rejected" in str(r.status)}
print(f"owner: denied {denied}")
assert denied == {"agent"}
