# %% [markdown]
# # Digits, the scientist's side
#
# You write ordinary torch code. `sy.Module` with `torch_ref` is the original's way to write a model
# that lives on either side; `send` puts its parameters on the owner's.

# %%
import os
import sys

import torch

import duet_p2p as sy
from duet_p2p.demo.digits import MEAN, STD, SUBSET, read_digits

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
EPOCHS = 1
BATCHES = 24 if QUICK else 93
LOSS_EVERY = 3 if QUICK else 10

duet = sy.join_duet()


# %%
class SyNet(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.conv1 = self.torch_ref.nn.Conv2d(1, 32, 3, 1)
        self.conv2 = self.torch_ref.nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = self.torch_ref.nn.Dropout2d(0.25)
        self.dropout2 = self.torch_ref.nn.Dropout(0.5)
        self.fc1 = self.torch_ref.nn.Linear(9216, 128)
        self.fc2 = self.torch_ref.nn.Linear(128, 10)

    def forward(self, x):
        F = self.torch_ref.nn.functional
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = self.torch_ref.flatten(x, 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


torch.manual_seed(42)
local_model = SyNet(torch)
model = local_model.send(duet)
assert not model.is_local

# %% [markdown]
# Where does it run? That is a fact about the owner's machine, so it is asked for.

# %%
rt, tv = duet.torch, duet.torchvision
has_cuda = rt.cuda.is_available().get(
    request_block=True, name="cuda_is_available", reason="where to run", timeout_secs=60
)
device = rt.device("cuda:0" if has_cuda else "cpu")
print(f"the owner's device: {device.type.get()}")
if has_cuda:
    model.cuda(device)
else:
    model.cpu()
rt.manual_seed(42)

# %% [markdown]
# The data set and its transforms are made on the owner's side; `"mnist"` is the owner's name for the
# folder. `drop_last=True`: a short last batch behind dropout would make the guard hold back losses.

# %%
steps = duet.python.List()
steps.append(tv.transforms.ToTensor())
steps.append(tv.transforms.Normalize(MEAN, STD))
digits = tv.datasets.MNIST(
    "mnist", train=True, download=True, transform=tv.transforms.Compose(steps)
)
loader = rt.utils.data.DataLoader(digits, batch_size=64, drop_last=True)
size = digits.__len__().get(request_block=True, name="train_size", reason="length of the loop")
print(f"{size:,} digits on the owner's side")

# %% [markdown]
# The training loop. The first losses are denied (`?`), which is `None` at once; later they are numbers.

# %%
optimizer = rt.optim.Adadelta(model.parameters(), lr=1.0)
scheduler = rt.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
losses = []
model.train()
for epoch in range(EPOCHS):
    for number, (data, target) in enumerate(loader.take(BATCHES)):
        optimizer.zero_grad()
        loss = rt.nn.functional.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        if number % LOSS_EVERY == 0:
            value = loss.item().get(
                name="loss", reason="to watch training", request_block=True, timeout_secs=60
            )
            losses.append(value)
            print(f"batch {number:3d}  loss {'?' if value is None else format(value, '.4f')}")
    scheduler.step()

# %% [markdown]
# One request brings the trained network; it is a local `SyNet` then. Measure it on digits of your own.

# %%
trained = model.get(
    request_block=True,
    name="model_download",
    reason="to test it on digits of my own",
    timeout_secs=120,
)
assert trained is not None and trained.is_local
trained.eval()
local_model.eval()
images, labels = read_digits(SUBSET, train=False)
images, labels = images[:500], labels[:500]


def accuracy(net):
    with torch.no_grad():
        return (net(images).argmax(dim=1) == labels).float().mean().item()


before, after = accuracy(local_model), accuracy(trained)
print(f"accuracy before {before:.1%}, after {after:.1%}")
assert losses[0] is None, "the owner starts with a rule that denies"
assert losses[-1] is not None and losses[-1] < 2.3, "better than guessing"
assert before < 0.4 and after > (0.5 if QUICK else 0.9)
duet.close()
print("scientist: done")
