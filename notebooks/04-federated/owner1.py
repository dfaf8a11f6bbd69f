# %% [markdown]
# # Two owners, one scientist: the first owner
#
# Two owners measured the same law, each with own data. A scientist trains one line per owner and
# averages them; neither owner sees the other's data, and the scientist sees neither.

# %%
import time

import torch

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# Your 40 measurements, around y = 3 x + 1.

# %%
generator = torch.Generator().manual_seed(1)
data = torch.rand(40, 1, generator=generator) * 2
target = 3 * data + 1 + torch.randn(40, 1, generator=generator) * 0.1
data.tag("data").describe("40 settings").send(duet)
target.tag("target").describe("what was measured").send(duet)

# %% [markdown]
# Losses may be seen, and the fitted line (two weights) may leave: as a model, and as its list of
# parameters. Nothing else.

# %%
duet.requests.add_handler(name="loss", action="accept", max_uses=20)
duet.requests.add_handler(
    name="line", action="accept", kinds={"model"}, max_elements=20, max_uses=2
)

# %% [markdown]
# Until the scientist leaves, whatever no rule takes is denied. In the end: what left?

# %%
while duet.is_open:
    for request in duet.requests:
        request.deny("only losses and the line were agreed on")
    time.sleep(0.05)
duet.close()
accepted = [r.name for r in duet.requests.history if "Accepted" in str(r.status)]
print(f"owner: released {accepted.count('loss')} losses and {accepted.count('line')} times the line")
assert accepted.count("line") == 2
