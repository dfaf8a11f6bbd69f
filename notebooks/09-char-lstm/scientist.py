# %% [markdown]
# # Text by characters, the scientist's side
#
# A network that learns to write like a text that you may not read. It is trained on the owner's side;
# the owner decides whether it comes home.

# %%
import os
import sys
import time

import torch

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
STEPS = 25 if QUICK else 150
HIDDEN = 64

duet = sy.join_duet()
rt = duet.torch
while len(duet.store) < 3:
    time.sleep(0.05)
print(duet.store.pandas.to_string())
text, following = duet.store["text"], duet.store["next"]

# %%
alphabet = duet.store["alphabet"].get(
    name="alphabet", reason="to read what the network writes", request_block=True, timeout_secs=60
)
print(f"{len(alphabet)} characters")

# %% [markdown]
# A window asked for under a name that worked before still waits for the owner, who says no.

# %%
stolen = text[0].get(name="alphabet", reason="more letters", request_block=True, timeout_secs=60)
assert stolen is None


# %%
class Writer(sy.Module):
    def __init__(self, torch_ref, size):
        super().__init__(torch_ref=torch_ref)
        self.embedding = self.torch_ref.nn.Embedding(size, 16)
        self.lstm = self.torch_ref.nn.LSTM(16, HIDDEN, batch_first=True)
        self.linear = self.torch_ref.nn.Linear(HIDDEN, size)

    def forward(self, x, state=None):
        outputs, state = self.lstm(self.embedding(x), state)
        return self.linear(outputs), state


torch.manual_seed(4)
model = Writer(torch, len(alphabet)).send(duet)

# %%
optimizer = rt.optim.Adam(model.parameters(), lr=0.02)
losses = []
model.train()
for step in range(STEPS):
    optimizer.zero_grad()
    output, _ = model(text)
    loss = rt.nn.functional.cross_entropy(output.view(-1, len(alphabet)), following.view(-1))
    loss.backward()
    optimizer.step()
    if step % 8 == 0:
        value = loss.item().get(
            name="loss", reason="is it learning?", request_block=True, timeout_secs=60
        )
        assert value is not None
        losses.append(value)
        print(f"step {step:3d}  loss {value:.4f}")
assert losses[-1] < 0.8 * losses[0], losses

# %% [markdown]
# Ask for the network: the owner looks at it and decides by hand. Writing happens here, one character
# after the other.

# %%
writer = model.get(name="model", reason="to write", request_block=True, timeout_secs=60)
assert writer is not None
writer.eval()
written, state = "B", None
with torch.no_grad():
    for _ in range(80):
        output, state = writer(torch.tensor([[alphabet.index(written[-1])]]), state)
        chances = torch.softmax(output[0, -1] / 0.5, dim=0)
        written += alphabet[torch.multinomial(chances, 1).item()]
print(f"written: {written!r}")
assert len(written) == 81 and len(set(written)) > 5
duet.close()
print("scientist: done")
