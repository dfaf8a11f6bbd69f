# %% [markdown]
# # Super resolution, the scientist's side
#
# A network that makes pictures three times as large, trained on the owner's photograph and tried on one
# of your own.

# %%
import os
import sys
import time

import torch
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
EPOCHS = 2 if QUICK else 12
BATCH = 4

duet = sy.join_duet()
rt = duet.torch
while len(duet.store) < 3:
    time.sleep(0.05)
print(duet.store.pandas.to_string())


# %% [markdown]
# A data set of pointers in an ordinary, local `DataLoader`. Its length is a number of the owner's, asked
# for each time; a number that was released once comes without another request.


# %%
class Pieces(Dataset):
    def __init__(self, small, sharp, count):
        self.small, self.sharp, self.count = small, sharp, count

    def __len__(self):
        return self.count.get(
            name="count", reason="length of the loop", request_block=True, timeout_secs=60
        )

    def __getitem__(self, index):
        return self.small[index].unsqueeze(0), self.sharp[index].unsqueeze(0)


def collate(pairs):
    small, sharp = zip(*pairs)
    return rt.cat(list(small)), rt.cat(list(sharp))


pieces = Pieces(duet.store["small"], duet.store["sharp"], duet.store["count"])
torch.manual_seed(5)
loader = DataLoader(pieces, batch_size=BATCH, shuffle=True, collate_fn=collate)
print(f"{len(pieces)} pieces, {len(loader)} batches")


# %% [markdown]
# Four convolutions and a pixel shuffle that makes nine channels into a picture three times as large.


# %%
class Sharpen(sy.Module):
    def __init__(self, torch_ref, factor=3):
        super().__init__(torch_ref=torch_ref)
        nn = self.torch_ref.nn
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 32, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(32, 32, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(32, 16, (3, 3), (1, 1), (1, 1))
        self.conv4 = nn.Conv2d(16, factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(factor)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.relu(self.conv3(x))
        return self.pixel_shuffle(self.conv4(x))


local_model = Sharpen(torch)
gain = torch.nn.init.calculate_gain("relu")
for layer in (local_model.conv1, local_model.conv2, local_model.conv3):
    torch.nn.init.orthogonal_(layer.weight, gain)
torch.nn.init.orthogonal_(local_model.conv4.weight)
model = local_model.send(duet)

# %%
optimizer = rt.optim.Adam(model.parameters(), lr=0.002)
criterion = rt.nn.MSELoss()
losses = []
model.train()
for epoch in range(EPOCHS):
    total = duet.python.Float(0)
    for small, sharp in loader:
        optimizer.zero_grad()
        loss = criterion(model(small), sharp)
        total += loss.item()
        loss.backward()
        optimizer.step()
    value = total.get(name="loss", reason="is it learning?", request_block=True, timeout_secs=60)
    assert value is not None
    losses.append(value / len(loader))
    print(f"epoch {epoch}  mean loss {losses[-1]:.5f}")
assert losses[-1] < 0.8 * losses[0], losses

# %% [markdown]
# The network comes home. Try it on a piece of a photograph of your own.

# %%
trained = model.get(name="model", reason="to use it", request_block=True, timeout_secs=60)
assert trained is not None
mine = torch.tensor(load_sample_images().images[1][300:336, 300:336]).float().mean(dim=2) / 255
mine = mine.reshape(1, 1, 36, 36)
low = torch.nn.functional.avg_pool2d(mine, 3)
with torch.no_grad():
    before = torch.nn.functional.mse_loss(local_model(low), mine).item()
    after = torch.nn.functional.mse_loss(trained(low), mine).item()
print(f"error on my own piece: untrained {before:.4f}, trained {after:.4f}")
assert trained(low).shape == (1, 1, 36, 36) and after < before
duet.close()
print("scientist: done")
