# %% [markdown]
# # Time sequences, the owner's side
#
# You have 97 sine waves; a scientist trains a recurrent network to continue them.

# %%
import time

import torch

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# Waves of 60 steps, each with a phase of its own. What is to be learnt is the same wave, one step later.

# %%
torch.manual_seed(2)
phase = torch.randint(-80, 80, (97, 1))
waves = torch.sin((torch.arange(61) + phase) / 10.0)
waves[:, :-1].contiguous().tag("input").describe("97 waves of 60 steps").send(duet)
waves[:, 1:].contiguous().tag("target").describe("the same, a step later").send(duet)

# %% [markdown]
# The loss is one number over all 97 waves, and the guard of a named rule follows that through the cells.
# You are shown each of them.

# %%
duet.requests.add_handler(name="loss", action="accept", max_uses=100, print_local=True)

# %% [markdown]
# The network leaves once, and by hand, after a look at what it is and how much: a `model`, that is
# weights that were fitted to the waves and not waves, and not more numbers than its 1,981 weights with
# their names. The waves are 11,640 numbers.

# %%
released = 0
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers", flush=True)
        print(f"  computed as {str(request.recipe)[:300]} ...", flush=True)
        if request.kind == "model" and request.elements < 2_500 and not released:
            request.accept()
            released += 1
        else:
            request.deny("not part of what we agreed on")
    time.sleep(0.05)
duet.close()

# %% [markdown]
# What was asked for, and what the guard knew about it.

# %%
for name, kind, records, injected in sorted(
    {(r.name, r.kind, r.min_records, r.injected) for r in duet.requests.history}
):
    print(f"{name}: {kind}, {records} record(s){', scientist values mixed in' if injected else ''}")
accepted = [r.name for r in duet.requests.history if "Accepted" in str(r.status)]
print(f"owner: {accepted.count('loss')} losses and {accepted.count('model')} model left")
assert accepted.count("model") == 1
