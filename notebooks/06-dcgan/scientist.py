# %% [markdown]
# # Two networks against each other (DCGAN), the scientist's side
#
# Both networks, both optimizers and the real pictures are on the owner's side; the noise is yours. The
# loop is the usual one. What you see of it are three numbers now and then, and what the owner lets out
# in the end.

# %%
import os
import sys
import tempfile
from pathlib import Path

import torch

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
EPOCHS = 1 if QUICK else 3
BATCHES = 12 if QUICK else 93
WATCH_EVERY = 4 if QUICK else 10
BATCH = 64
NOISE, WIDTH = 32, 16

duet = sy.join_duet()
rt, tv = duet.torch, duet.torchvision


# %% [markdown]
# Noise of shape (N, 32, 1, 1) to pictures of shape (N, 1, 28, 28).


# %%
class Generator(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        nn = self.torch_ref.nn
        self.up1 = nn.ConvTranspose2d(NOISE, WIDTH * 4, 7, 1, 0, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTH * 4)
        self.up2 = nn.ConvTranspose2d(WIDTH * 4, WIDTH, 4, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(WIDTH)
        self.up3 = nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1, bias=False)
        self.relu = nn.ReLU(True)
        self.tanh = nn.Tanh()

    def forward(self, noise):
        x = self.relu(self.norm1(self.up1(noise)))
        x = self.relu(self.norm2(self.up2(x)))
        return self.tanh(self.up3(x))


# %% [markdown]
# Pictures to one number each: how sure it is that the owner has that picture.


# %%
class Judge(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        nn = self.torch_ref.nn
        self.down1 = nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False)
        self.down2 = nn.Conv2d(WIDTH, WIDTH * 4, 4, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(WIDTH * 4)
        self.down3 = nn.Conv2d(WIDTH * 4, 1, 7, 1, 0, bias=False)
        self.leaky = nn.LeakyReLU(0.2, inplace=True)
        self.sigmoid = nn.Sigmoid()

    def forward(self, pictures):
        x = self.leaky(self.down1(pictures))
        x = self.leaky(self.norm2(self.down2(x)))
        return self.sigmoid(self.down3(x)).view(-1, 1).squeeze(1)


# %% [markdown]
# Weights are drawn here, before `send`.


# %%
def set_weights(module):
    if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
        torch.nn.init.normal_(module.weight, 0.0, 0.02)


torch.manual_seed(3)
local_generator, local_judge = Generator(torch), Judge(torch)
local_generator.apply(set_weights)
local_judge.apply(set_weights)
generator, judge = local_generator.send(duet), local_judge.send(duet)

# %%
transform = tv.transforms.Compose([tv.transforms.ToTensor(), tv.transforms.Normalize(0.5, 0.5)])
digits = tv.datasets.MNIST("mnist", train=True, download=True, transform=transform)
loader = rt.utils.data.DataLoader(digits, batch_size=BATCH, shuffle=True, drop_last=True)
rt.manual_seed(3)
fixed = torch.randn(8, NOISE, 1, 1).tag("fixed-noise").send(duet, pointable=True)

criterion = rt.nn.BCELoss()
judge_optimizer = rt.optim.Adam(judge.parameters(), lr=0.002, betas=(0.5, 0.999))
generator_optimizer = rt.optim.Adam(generator.parameters(), lr=0.002, betas=(0.5, 0.999))


# %%
def ask(value):
    got = value.get(name="watch", reason="to watch both", request_block=True, timeout_secs=60)
    assert got is not None
    return got


# %% [markdown]
# The judge learns on real and drawn pictures, then the generator learns to be taken for real.

# %%
judge_losses = []
generator.train()
judge.train()
for epoch in range(EPOCHS):
    for number, batch in enumerate(loader.take(BATCHES)):
        judge.zero_grad()
        verdict = judge(batch[0])
        label = rt.zeros_like(verdict)
        label.fill_(1.0)
        on_real = criterion(verdict, label)
        on_real.backward()
        trust = verdict.mean().item()

        noise = torch.randn(BATCH, NOISE, 1, 1).tag("noise").send(duet, pointable=False)
        drawn = generator(noise)
        label.fill_(0.0)
        verdict = judge(drawn.detach())
        on_drawn = criterion(verdict, label)
        on_drawn.backward()
        judge_loss = on_real + on_drawn
        judge_optimizer.step()

        generator.zero_grad()
        label.fill_(1.0)
        verdict = judge(drawn)
        generator_loss = criterion(verdict, label)
        generator_loss.backward()
        generator_optimizer.step()

        if number % WATCH_EVERY == 0:
            judge_losses.append(ask(judge_loss.item()))
            print(
                f"epoch {epoch}  batch {number:3d}  judge {judge_losses[-1]:.3f}  "
                f"generator {ask(generator_loss.item()):.3f}  real taken for real {ask(trust):.2f}"
            )
assert judge_losses[-1] < judge_losses[0], judge_losses

# %% [markdown]
# Eight pictures from the same noise, and both networks, saved as any torch model.

# %%
with torch.no_grad():
    picture = generator(fixed)
drawn = picture.get(name="picture", reason="8 drawn digits", request_block=True, timeout_secs=60)
assert drawn.shape == (8, 1, 28, 28) and -1 <= drawn.min() and drawn.max() <= 1
for row in drawn[0, 0][::2]:
    print("".join(" .:*#"[min(4, int((value + 1) * 2.5))] for value in row))

# %%
folder = Path(tempfile.mkdtemp())
for name, remote, local in (
    ("generator", generator, local_generator),
    ("judge", judge, local_judge),
):
    trained = remote.get(name=name, reason="to keep", request_block=True, timeout_secs=60)
    assert trained is not None
    trained.save(folder / f"{name}.safetensors")
    again = type(local)(torch)
    again.load(folder / f"{name}.safetensors")
    for key, value in again.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])
    assert not torch.equal(next(again.parameters()), next(local.parameters()))
    print(f"{name} saved")
duet.close()
print("scientist: done")
