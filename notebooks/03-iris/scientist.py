# %% [markdown]
# # Iris, the scientist's side
#
# A classifier for a table that stays with its owner. Start the owner's notebook first: it prints the
# session ID that `join_duet` asks for here, and asks for the client ID that is printed here.

# %%
import os
import sys
import time

import torch
from sklearn.datasets import load_iris

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
ITERATIONS = 60 if QUICK else 100

duet = sy.join_duet()
rt = duet.torch

# %%
while len(duet.store) < 2:
    time.sleep(0.05)
print(duet.store.pandas.to_string())
data, target = duet.store["iris-data"], duet.store["iris-target"]


# %% [markdown]
# Three linear layers. Parameters are made here and sent, so a seed on this side decides them.


# %%
class SyNet(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(4, 20)
        self.fc2 = self.torch_ref.nn.Linear(20, 30)
        self.fc3 = self.torch_ref.nn.Linear(30, 3)

    def forward(self, x):
        F = self.torch_ref.nn.functional
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)


torch.manual_seed(7)
local_model = SyNet(torch)
model = local_model.send(duet)

# %% [markdown]
# Train on the flowers that you never see. The owner's rule releases each loss.

# %%
optimizer = rt.optim.Adam(params=model.parameters(), lr=0.01)
losses = []
for iteration in range(ITERATIONS):
    optimizer.zero_grad()
    loss = rt.nn.functional.nll_loss(model(data), target.long())
    losses.append(
        loss.item().get(
            name="loss", reason=f"loss of iteration {iteration}", request_block=True, timeout_secs=60
        )
    )
    loss.backward()
    optimizer.step()
    if iteration % 10 == 0:
        print(f"iteration {iteration:3d}  loss {losses[-1]:.4f}")

# %% [markdown]
# One flower's species, asked for as a "loss", does not pass.

# %%
one = target[0].get(name="loss", reason="a look", request_block=True, timeout_secs=60)
assert one is None

# %% [markdown]
# The model comes back; it names the flowers that the owner did not have.

# %%
trained = model.get(name="model", reason="to predict", request_block=True, timeout_secs=60)
assert trained is not None
iris = load_iris()
is_mine = torch.arange(150) % 5 == 0
with torch.no_grad():
    species = trained(torch.FloatTensor(iris.data)[is_mine]).argmax(dim=1)
right = (species == torch.tensor(iris.target)[is_mine]).float().mean().item()
print(f"{right:.0%} of my own 30 flowers named right")
assert right > 0.8

# %% [markdown]
# In this example both sides come from one public data set, so the whole training can be checked: the
# same seed and the same steps give the same losses here.

# %%
x = torch.FloatTensor(iris.data)[~is_mine]
y = torch.tensor(iris.target)[~is_mine]
twin = local_model
optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
for iteration in range(ITERATIONS):
    optimizer.zero_grad()
    loss = torch.nn.functional.nll_loss(twin(x), y)
    assert abs(loss.item() - losses[iteration]) < 1e-3, (iteration, loss.item(), losses[iteration])
    loss.backward()
    optimizer.step()
print("the remote losses equal local ones")
duet.close()
print("scientist: done")
