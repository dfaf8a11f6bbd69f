# %% [markdown]
# # Super resolution, the owner's side
#
# You have sharp pictures and small, blurred copies of them. A scientist learns to sharpen.

# %%
import time

import torch
from sklearn.datasets import load_sample_images

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# 48 pieces of 36 x 36 pixels, cut from a photograph that comes with scikit-learn, and the same at a
# third of the size.

# %%
photograph = torch.tensor(load_sample_images().images[0])
grey = photograph.float().mean(dim=2) / 255
pieces = grey.unfold(0, 36, 72).unfold(1, 36, 72)
sharp = pieces.reshape(-1, 1, 36, 36)[:48].contiguous()
small = torch.nn.functional.avg_pool2d(sharp, 3)
small.tag("small").describe("48 grey pieces, 12 x 12").send(duet)
sharp.tag("sharp").describe("the same pieces, 36 x 36").send(duet)
sy.lib.python.Int(len(sharp)).tag("count").describe("how many pieces").send(duet)

# %% [markdown]
# The scientist picks pieces one by one in an order of its own, so a loss is over pieces that *it* chose:
# for the guard that tells about single records. You let the number of pieces go, and losses of four
# pieces each as single numbers; you are shown each of them.

# %%
duet.requests.add_handler(
    name="count", action="accept", kinds={"verbatim", "metadata"}, min_records=1
)
duet.requests.add_handler(
    name="loss",
    action="accept",
    kinds={"aggregate", "per_record"},
    min_records=1,
    allow_injected=True,
    max_uses=100,
    print_local=True,
)

# %% [markdown]
# The network leaves once, by hand.

# %%
released = 0
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers", flush=True)
        if request.name == "model" and request.elements < 40_000 and not released:
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
assert released == 1
print("owner: the network left, the pictures did not")
