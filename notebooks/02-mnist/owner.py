# %% [markdown]
# # Digits, the owner's side
#
# The published walk-through of the original Duet: you have handwritten digits, a scientist trains a
# network on them. Here they are the 6,000 that come with the package; `data_dirs` may name any folder
# with MNIST's four files.

# %%
import time

import duet_p2p as sy
from duet_p2p.demo.digits import SUBSET

duet = sy.launch_duet(data_dirs={"mnist": SUBSET})

# %% [markdown]
# Two facts may go without asking you. The loss of a batch is one number over 64 digits: the guard of a
# rule with a name checks that it is really such a number. First you want to see it for yourself only.

# %%
duet.requests.add_handler(name="cuda_is_available", action="accept")
duet.requests.add_handler(name="train_size", action="accept")
duet.requests.add_handler(name="loss", action="deny", print_local=True)
print(duet.requests.handlers.pandas.to_string())

# %% [markdown]
# After three losses you know what the numbers look like and let them go. The same call with another
# action replaces the rule.


# %%
def decided(name):
    return [request for request in duet.requests.history if request.name == name]


while duet.is_open and len(decided("loss")) < 3:
    time.sleep(0.05)
duet.requests.add_handler(name="loss", action="accept")

# %% [markdown]
# A trained network can remember records, so no guarded rule gives it away. You look at what waits and
# accept that one by hand.

# %%
while duet.is_open:
    for request in duet.requests:
        print(
            f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers, "
            f"{request.nbytes:,} bytes, {request.request_description!r}",
            flush=True,
        )
        if request.name == "model_download" and request.kind == "model":
            request.accept()
        else:
            request.deny("not part of what we agreed on")
    time.sleep(0.05)
duet.close()

# %%
statuses = [str(request.status) for request in decided("loss")]
print(f"owner: {len(statuses)} losses asked for, {len(decided('model_download'))} model released")
assert "Rejected" in statuses[0] and "Accepted" in statuses[-1]
assert len(decided("model_download")) == 1
