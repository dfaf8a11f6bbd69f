# %% [markdown]
# # Iris, the owner's side
#
# 120 flowers with four measures each, and their species. The scientist trains a small classifier.

# %%
import time

import torch
from sklearn.datasets import load_iris

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# Every fifth flower is the scientist's own, for testing; the rest is shared.

# %%
iris = load_iris()
is_shared = torch.arange(150) % 5 != 0
data = torch.FloatTensor(iris.data)[is_shared]
target = torch.FloatTensor(iris.target)[is_shared]
data.tag("iris-data").describe("120 flowers, 4 measures in cm").send(duet)
target.tag("iris-target").describe("their species: 0, 1, 2").send(duet)

# %% [markdown]
# Two rules. A loss is one number over all 120 flowers: the guard of a named rule checks that, and counts
# at most 1,000 such numbers. A model may leave too, once: 803 weights, of kind `model` and nothing else.
# Its parameters' names count as a few numbers more.

# %%
duet.requests.add_handler(name="loss", action="accept", max_uses=120)
duet.requests.add_handler(name="model", action="accept", kinds={"model"}, max_elements=900)
print(duet.requests.handlers.pandas.to_string())

# %% [markdown]
# Anything else waits for you, until the scientist leaves; here the scientist tries the species of one
# flower, under the name that the rule accepts.

# %%
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind} of {request.min_records} record(s)", flush=True)
        request.deny("single flowers stay here")
    time.sleep(0.05)
duet.close()

# %%
history = duet.requests.history
accepted = [r.name for r in history if "Accepted" in str(r.status)]
denied = [r.name for r in history if "Rejected" in str(r.status)]
print(f"owner: {accepted.count('loss')} losses, {accepted.count('model')} model, denied {denied}")
assert accepted.count("model") == 1 and denied == ["loss"]
