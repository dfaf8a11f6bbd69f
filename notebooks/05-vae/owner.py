# %% [markdown]
# # Variational auto-encoder, the owner's side
#
# A scientist learns to draw digits like yours.

# %%
import time

import duet_p2p as sy
from duet_p2p.demo.digits import SUBSET

duet = sy.launch_duet(data_dirs={"mnist": SUBSET})

# %% [markdown]
# The loss of this network is one number over 100 digits, but the scientist's own random numbers are
# mixed in, one per digit: that is how such a network learns. They could as well be weights that pick
# one digit out, so the guard calls it `injected` and holds it back unless you allow it in words. The
# guard goes on to check that it is one number over at least 10 digits.

# %%
duet.requests.add_handler(name="batches", action="accept")
duet.requests.add_handler(
    name="loss",
    action="accept",
    allow_injected=True,
    max_uses=40,
    print_local=True,
)

# %% [markdown]
# What the network draws from noise you look at first, and accept once. The network itself stays here.

# %%
released = 0
while duet.is_open:
    for request in duet.requests:
        print(
            f"{request.name!r} waits: {request.kind}, shape {request.shape}, "
            f"{request.request_description!r}",
            flush=True,
        )
        if request.name == "drawings" and request.elements <= 16 * 784 and not released:
            request.accept()
            released += 1
        else:
            request.deny("drawings only, and no more than 16")
    time.sleep(0.05)
duet.close()

# %% [markdown]
# What was asked for, and what the guard knew about it.

# %%
for name, kind, records, injected in sorted(
    {(r.name, r.kind, r.min_records, r.injected) for r in duet.requests.history}
):
    print(f"{name}: {kind}, {records} record(s){', scientist values mixed in' if injected else ''}")
assert released == 1
print("owner: 16 drawings left")
