# %% [markdown]
# # Basics, the owner's side
#
# You hold six people's ages. A data scientist computes on them without seeing them: each operation
# runs here, and a result leaves only when you, or a rule that you wrote, let it.

# %%
import time

import torch

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# Share the ages. The scientist sees the tag, the description and the shape; no number.

# %%
ages = torch.tensor([25, 32, 49, 65, 88, 22])
ages = ages.tag("ages").describe("the ages of six people, in years")
ages_ptr = ages.send(duet)
print(duet.store.pandas.to_string())


# %% [markdown]
# What the scientist asks for waits here until you decide. At your own desk you would look at
# `duet.requests` now and then, or put `duet` last in a cell for a panel with buttons. So that this
# notebook runs from top to bottom, the function below waits for the next request and shows what *your*
# side knows about it: the scientist's words are one thing, what would leave is another.


# %%
def next_request():
    while not len(duet.requests):
        if not duet.is_open:
            raise SystemExit("The scientist left before asking.")
        time.sleep(0.05)
    request = duet.requests[0]
    print(f"{request.name or 'A request'}: {request.request_description!r}", flush=True)
    print(f"  {request.kind}, {request.elements} number(s), at least {request.min_records} records")
    print(f"  computed as {request.recipe}", flush=True)
    return request


# %% [markdown]
# The first request gives no good reason: no.

# %%
next_request().deny("please say what it is for")

# %% [markdown]
# The second one does. What is asked for is the mean of all six: you can see that above.

# %%
request = next_request()
assert (request.kind, request.elements, request.min_records) == ("aggregate", 1, 6)
request.accept()

# %% [markdown]
# The oldest and the youngest age *are* somebody's age, so no guarded rule would let them out. You
# decide that these two may be known, and write exactly that: two values, one number each, of a kind
# that tells about single records.

# %%
duet.requests.add_handler(
    name="extremes",
    action="accept",
    kinds={"per_record", "aggregate"},
    min_records=1,
    max_uses=2,
    print_local=True,
)

# %% [markdown]
# A name is only a word of the scientist. All the ages, asked for under the same name, still wait for
# you. `explain` tells why the rule did not take them.

# %%
request = next_request()
assert request.name == "extremes" and request.kind == "verbatim" and request.elements > 1
for look in duet.requests.explain(request):
    print(f"  {look}")
request.deny("two numbers were agreed on")

# %% [markdown]
# Nothing was taken from you by all this.

# %%
while duet.is_open:
    time.sleep(0.1)
assert ages.tolist() == [25, 32, 49, 65, 88, 22]
duet.close()
print("owner: one mean and two extremes left, the ages did not")
