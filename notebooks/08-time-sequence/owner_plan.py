# %% [markdown]
# # Time sequences as a plan, the owner's side
#
# The original's form of this example: you decide not only what is released but what is run. You trace
# one step of training, and share it as a plan; the scientist calls it with a network.

# %%
import time

import torch
from torch import nn

import duet_p2p as sy

duet = sy.launch_duet()

# %%
torch.manual_seed(2)
phase = torch.randint(-80, 80, (97, 1))
waves = torch.sin((torch.arange(21) + phase) / 10.0)
x, y = waves[:, :-1].contiguous(), waves[:, 1:].contiguous()
x.tag("input").describe("97 waves of 20 steps").send(duet)
y.tag("target").describe("the same, a step later").send(duet)

# %% [markdown]
# The network that you expect. `ROOT_CLIENT` stands for whatever session the plan will run in.

# %%
rt, python = sy.ROOT_CLIENT.torch, sy.ROOT_CLIENT.python


class Sequence(sy.SyModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lstm1 = nn.LSTMCell(1, 12)
        self.lstm2 = nn.LSTMCell(12, 12)
        self.linear = nn.Linear(12, 1)

    def forward(self, x):
        outputs = python.List([])
        h1, c1, h2, c2 = (rt.zeros(x.shape[0], 12) for _ in range(4))
        for step in x.split(1, dim=1):
            h1, c1 = self.lstm1(step, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return rt.cat(outputs, dim=1)


# %% [markdown]
# The defaults are examples: only their shapes count.


# %%
@sy.make_plan
def train(x=torch.zeros(97, 20), y=torch.zeros(97, 20), model=Sequence(input_size=(97, 20))):
    optimizer = rt.optim.AdamW(model.parameters(), lr=0.02)
    criterion = rt.nn.MSELoss()
    optimizer.zero_grad()
    (out,) = model(x=x)
    loss = criterion(out, y)
    loss.backward()
    optimizer.step()
    return [model, loss]


train.tag("train").describe("one step of training").send(duet)

# %% [markdown]
# What comes out of it may leave, 15 times: the loss, one number over all waves, and the network, of kind
# `model` and no larger than this one with its 1,981 weights and their names. The guard of a named rule
# checks both.

# %%
duet.requests.add_handler(name="loss", action="accept", max_uses=15, print_local=True)
duet.requests.add_handler(
    name="model",
    action="accept",
    kinds={"model"},
    max_elements=None,
    element_quota=15 * 2_100,
    max_uses=15,
)

# %%
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers", flush=True)
        for look in duet.requests.explain(request):
            print(f"  {look}", flush=True)
        request.deny("only what the plan gives")
    time.sleep(0.05)
duet.close()
accepted = [r.name for r in duet.requests.history if "Accepted" in str(r.status)]
print(f"owner: {accepted.count('loss')} losses and {accepted.count('model')} models left")
assert accepted.count("model") == 15
