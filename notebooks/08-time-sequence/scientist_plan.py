# %% [markdown]
# # Time sequences as a plan, the scientist's side
#
# The owner shares waves and a plan, `train`. You bring a network and call the plan by keywords: one
# message for a whole step of training. The trained network comes back, and goes in again.

# %%
import time

import torch
from torch import nn

import duet_p2p as sy

duet = sy.join_duet()
while len(duet.store) < 3:
    time.sleep(0.05)
waves, target, train = duet.store["input"], duet.store["target"], duet.store["train"]
print(train)


# %% [markdown]
# An ordinary network of the form that the plan expects. Here `forward` runs on your own tensors only.


# %%
class Sequence(sy.SyModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lstm1 = nn.LSTMCell(1, 12)
        self.lstm2 = nn.LSTMCell(12, 12)
        self.linear = nn.Linear(12, 1)

    def forward(self, x):
        outputs = []
        h1, c1, h2, c2 = (torch.zeros(x.shape[0], 12) for _ in range(4))
        for step in x.split(1, dim=1):
            h1, c1 = self.lstm1(step, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return torch.cat(outputs, dim=1)


# %%
torch.manual_seed(0)
model = Sequence(input_size=(97, 20))
losses = []
for step in range(15):
    result = train(x=waves, y=target, model=model)
    loss = result[1].item().get(name="loss", reason="step", request_block=True, timeout_secs=60)
    model = result[0].get(name="model", reason="step", request_block=True, timeout_secs=60)
    assert loss is not None and model is not None
    losses.append(loss)
    print(f"step {step:2d}  loss {loss:.5f}")
assert losses[-1] < losses[0], losses

# %% [markdown]
# It is a local network: its state dict fits any module of the same form.

# %%
plain = Sequence(input_size=(1, 20))
plain.load_state_dict(model.state_dict())
with torch.no_grad():
    (guess,) = plain(x=torch.sin(torch.arange(20) / 10.0).reshape(1, -1))
print(f"after sin(1.9) comes {guess[0, -1]:.2f}; it is {torch.sin(torch.tensor(2.0)):.2f}")

# %% [markdown]
# These waves follow from a seed, so the same 15 steps can be done here, to compare.

# %%
torch.manual_seed(2)
phase = torch.randint(-80, 80, (97, 1))
own = torch.sin((torch.arange(21) + phase) / 10.0)
torch.manual_seed(0)
twin = Sequence(input_size=(97, 20))
for step in range(15):
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.02)
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(twin(own[:, :-1]), own[:, 1:])
    loss.backward()
    optimizer.step()
    assert abs(loss.item() - losses[step]) < 1e-3, (step, loss.item(), losses[step])
print("the remote losses equal local ones")
duet.close()
print("scientist: done")
