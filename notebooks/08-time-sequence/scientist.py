# %% [markdown]
# # Time sequences, the scientist's side
#
# Recurrent cells in a loop over time, on waves that stay with their owner. Afterwards the same training
# is done here, to see that nothing is different.

# %%
import copy
import os
import sys
import time

import torch

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
STEPS = 6 if QUICK else 40
WINDOW = 20 if QUICK else 60
HIDDEN = 12

duet = sy.join_duet()
rt = duet.torch
while len(duet.store) < 2:
    time.sleep(0.05)
waves, target = duet.store["input"], duet.store["target"]
print(waves, target)


# %% [markdown]
# Two LSTM cells and a linear layer, step by step through time. With `future` it goes on from its own
# output, past the end of the waves.


# %%
class Sequence(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.lstm1 = self.torch_ref.nn.LSTMCell(1, HIDDEN)
        self.lstm2 = self.torch_ref.nn.LSTMCell(HIDDEN, HIDDEN)
        self.linear = self.torch_ref.nn.Linear(HIDDEN, 1)

    def forward(self, x, future=0):
        t = self.torch_ref
        outputs = []
        h1, c1, h2, c2 = (t.zeros(x.shape[0], HIDDEN) for _ in range(4))
        for step in x.split(1, dim=1):
            h1, c1 = self.lstm1(step, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs.append(output)
        for _ in range(future):
            h1, c1 = self.lstm1(output, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs.append(output)
        return t.cat(outputs, dim=1)


torch.manual_seed(0)
local_model = Sequence(torch)
model = local_model.send(duet)

# %%
x, y = waves[:, :WINDOW], target[:, :WINDOW]
optimizer = rt.optim.AdamW(model.parameters(), lr=0.02)
criterion = rt.nn.MSELoss()
losses = []
for step in range(STEPS):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    value = loss.item().get(name="loss", reason="is it learning?", request_block=True, timeout_secs=60)
    assert value is not None
    losses.append(value)
    print(f"step {step:2d}  loss {value:.5f}")
assert losses[-1] < losses[0], losses

# %% [markdown]
# The trained network goes on with a wave of your own.

# %%
trained = model.get(name="model", reason="to continue waves", request_block=True, timeout_secs=60)
assert trained is not None
mine = torch.sin(torch.arange(WINDOW) / 10.0).reshape(1, -1)
with torch.no_grad():
    continued = trained(mine, future=10)
assert continued.shape == (1, WINDOW + 10)
print("continued:", " ".join(f"{value:.2f}" for value in continued[0, -10:]))

# %% [markdown]
# These waves follow from a seed, so here the training can be done over on this side, to compare.

# %%
torch.manual_seed(2)
phase = torch.randint(-80, 80, (97, 1))
own = torch.sin((torch.arange(61) + phase) / 10.0)
twin = copy.deepcopy(local_model)
optimizer = torch.optim.AdamW(twin.parameters(), lr=0.02)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(twin(own[:, :WINDOW]), own[:, 1 : WINDOW + 1])
    loss.backward()
    optimizer.step()
    assert abs(loss.item() - losses[step]) < 1e-3, (step, loss.item(), losses[step])
print("the remote losses equal local ones")
duet.close()
print("scientist: done")
