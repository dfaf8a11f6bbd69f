# %% [markdown]
# # Two networks against each other (DCGAN), the owner's side
#
# One network draws digits, another judges whether a picture is yours or drawn. Both are trained here.

# %%
import time

import duet_p2p as sy
from duet_p2p.demo.digits import SUBSET

duet = sy.launch_duet(data_dirs={"mnist": SUBSET})

# %% [markdown]
# Batch normalisation mixes the pictures of a batch with each other, and the scientist's noise is mixed
# in too; what the judge says of drawn pictures depends on your data through its weights alone, which
# is a `model`. So no number here is an aggregate in the guard's sense. You know these networks and
# decide that single numbers may leave for watching, not more than you could look at.

# %%
duet.requests.add_handler(
    name="watch",
    action="accept",
    kinds={"aggregate", "model", "per_record"},
    min_records=1,
    allow_injected=True,
    max_uses=60,
    print_local=True,
)

# %% [markdown]
# The pictures that were drawn, and the two trained networks, one by one and by hand. What you check is
# what it is and how much: the words are the scientist's.

# %%
LARGEST = {"picture": 8 * 28 * 28, "generator": 400_000, "judge": 400_000}
left = []
while duet.is_open:
    for request in duet.requests:
        print(
            f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers, "
            f"{request.request_description!r}",
            flush=True,
        )
        if request.elements <= LARGEST.get(request.name, 0) and request.name not in left:
            left.append(request.name)
            request.accept()
        else:
            request.deny("not part of what we agreed on")
    time.sleep(0.05)
duet.close()

# %% [markdown]
# What was asked for, and what the guard knew about it.

# %%
for name, kind, records, injected in sorted(
    {(r.name, r.kind, r.min_records, r.injected) for r in duet.requests.history}
):
    print(f"{name}: {kind}, {records} record(s){', scientist values mixed in' if injected else ''}")
print(f"owner: released {left}")
assert left == ["picture", "generator", "judge"]
