# %% [markdown]
# # Variational auto-encoder, the scientist's side
#
# A network that learns what the owner's digits have in common and draws new ones, from noise of your
# own. You never see a digit; you see losses, and in the end 16 drawings, if the owner agrees.

# %%
import os
import sys

import torch
from torch import nn

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
EPOCHS = 1 if QUICK else 3
BATCHES = 20 if QUICK else 60
LOSS_EVERY = 5
BATCH = 100

duet = sy.join_duet()
rt, tv = duet.torch, duet.torchvision


# %% [markdown]
# Five linear layers. `encode` gives two tensors, `decode` is a method like any other; they run here and
# on pointers alike. The noise is drawn on this side and sent along.


# %%
class VAE(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(784, 200)
        self.fc21 = self.torch_ref.nn.Linear(200, 20)
        self.fc22 = self.torch_ref.nn.Linear(200, 20)
        self.fc3 = self.torch_ref.nn.Linear(20, 200)
        self.fc4 = self.torch_ref.nn.Linear(200, 784)

    def encode(self, x):
        hidden = self.torch_ref.nn.ReLU()(self.fc1(x))
        return self.fc21(hidden), self.fc22(hidden)

    def reparameterize(self, mean, log_variance):
        deviation = self.torch_ref.exp(0.5 * log_variance)
        return mean + torch.randn(BATCH, 20) * deviation

    def decode(self, z):
        hidden = self.torch_ref.nn.ReLU()(self.fc3(z))
        return self.torch_ref.nn.Sigmoid()(self.fc4(hidden))

    def forward(self, x):
        mean, log_variance = self.encode(x.view(-1, 784))
        return self.decode(self.reparameterize(mean, log_variance)), mean, log_variance


torch.manual_seed(1)
model = VAE(torch).send(duet)

# %%
rt.manual_seed(1)
digits = tv.datasets.MNIST("mnist", train=True, download=True, transform=tv.transforms.ToTensor())
loader = rt.utils.data.DataLoader(digits, batch_size=BATCH, shuffle=True, drop_last=True)
batches = loader.len().get(
    name="batches", request_block=True, reason="length of the loop", timeout_secs=60
)
print(f"{batches} batches of {BATCH}")


# %% [markdown]
# How far the drawing is from the digit, and how far the code is from noise.


# %%
def loss_of(drawn, x, mean, log_variance):
    likeness = rt.nn.BCELoss(reduction="sum")(drawn, x.view(-1, 784))
    divergence = -0.5 * rt.sum(1 + log_variance - mean.pow(2) - rt.exp(log_variance))
    return likeness + divergence


optimizer = rt.optim.Adam(model.parameters(), lr=1e-3)
losses = []
model.train()
for epoch in range(EPOCHS):
    for number, (x, _) in enumerate(loader.take(min(BATCHES, batches))):
        optimizer.zero_grad()
        drawn, mean, log_variance = model(x)
        loss = loss_of(drawn, x, mean, log_variance)
        loss.backward()
        optimizer.step()
        if number % LOSS_EVERY == 0:
            value = loss.get(name="loss", reason="is it learning?", request_block=True, timeout_secs=60)
            assert value is not None
            losses.append(value.item() / BATCH)
            print(f"epoch {epoch}  batch {number:3d}  loss {losses[-1]:.1f} per digit")
assert losses[-1] < 0.75 * losses[0], losses

# %% [markdown]
# Sixteen drawings from noise of your own.

# %%
model.eval()
with torch.no_grad():
    sample = model.decode(torch.randn(16, 20)).view(16, 28, 28)
drawings = sample.get(
    name="drawings", reason="16 drawings from noise", request_block=True, timeout_secs=60
)
assert drawings is not None and drawings.shape == (16, 28, 28)
for row in drawings[0][::2]:
    print("".join(" .:*#"[min(4, int(value * 5))] for value in row))
assert 0.02 < drawings.mean().item() < 0.4, "mostly dark, as digits are"
duet.close()
print("scientist: done")
