# %% [markdown]
# # Two owners, one scientist: the scientist's side
#
# Two hospitals, say, who may not pool their data. Join one owner after the other: each `join_duet` asks
# for that owner's session ID and gives you a client ID for that owner.

# %%
import os
import sys
import time

import torch

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
STEPS = 60 if QUICK else 200

duet1 = sy.join_duet()
duet2 = sy.join_duet()
duets = [duet1, duet2]
for duet in duets:
    while len(duet.store) < 2:
        time.sleep(0.05)
    print(duet.store.pandas.to_string())


# %% [markdown]
# One line, the same start for both.


# %%
class Line(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.linear = self.torch_ref.nn.Linear(1, 1)

    def forward(self, x):
        return self.linear(x)


torch.manual_seed(1)
start = Line(torch)


# %%
def train(duet):
    remote = start.send(duet)
    data, target = duet.store["data"], duet.store["target"]
    optimizer = duet.torch.optim.Adam(remote.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = duet.torch.nn.functional.mse_loss(remote(data), target)
        loss.backward()
        optimizer.step()
        if step % (STEPS // 4) == 0:
            value = loss.item().get(
                name="loss", reason="is it learning?", request_block=True, timeout_secs=60
            )
            print(f"step {step:3d}  loss {value:.4f}")
    return remote


remotes = [train(duet) for duet in duets]

# %% [markdown]
# Values of two owners never meet in one operation.

# %%
try:
    duet1.store["data"] + duet2.store["data"]
except sy.errors.ForeignPointer as error:
    print(error)

# %% [markdown]
# Each line comes home, as a list of parameters and as a model; both say the same. Then the average.

# %%
states = []
for remote in remotes:
    parameters = remote.parameters().get(
        name="line", reason="to average", request_block=True, timeout_secs=60
    )
    line = remote.get(name="line", reason="to average", request_block=True, timeout_secs=60)
    assert parameters is not None and line is not None
    assert torch.equal(parameters[0], line.linear.weight)
    states.append(line.state_dict())
    print(f"an owner's line: {line.linear.weight.item():.3f} x + {line.linear.bias.item():.3f}")

combined = Line(torch)
combined.load_state_dict({key: (states[0][key] + states[1][key]) / 2 for key in states[0]})
weight, bias = (parameter.item() for parameter in combined.parameters())
print(f"the average: {weight:.3f} x + {bias:.3f}")
assert abs(weight - 3) < 0.7 and abs(bias - 1) < 1.2
for duet in duets:
    duet.close()
print("scientist: done")
