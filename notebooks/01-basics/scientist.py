# %% [markdown]
# # Basics, the scientist's side
#
# `join_duet` asks for the session ID that the owner's notebook printed, and prints the client ID that
# the owner has to type.

# %%
import time

import duet_p2p as sy

duet = sy.join_duet()

# %% [markdown]
# What the owner shares; the loop waits until something is there. `ages` is a pointer: it knows its
# shape, not its values.

# %%
while not len(duet.store):
    time.sleep(0.05)
print(duet.store.pandas.to_string())
ages = duet.store["ages"]
print(ages)

# %% [markdown]
# The mean is computed on the owner's side; this line waits for nothing. To see it you have to ask.

# %%
mean = ages.float().mean()
try:
    mean.get()
except sy.errors.NotReleased as error:
    print(f"not yet: {error}")

# %% [markdown]
# Ask without much of a reason, and be denied.

# %%
request = mean.request(reason="just looking")
request.wait(60)
try:
    mean.get()
except sy.errors.RequestDenied as error:
    print(f"denied: {error}")

# %% [markdown]
# Ask again, properly. An accepted value can be fetched as often as you like.

# %%
mean.request(reason="the average age, for the table of our report").wait(60)
value = mean.get()
print(f"mean age: {value.item():.4f}")
assert abs(value.item() - 46.8333) < 1e-3 and mean.get().equal(value)

# %% [markdown]
# The smallest and the largest value, one question each; `get(request_block=True)` asks and waits.

# %%
years = ages.float()
oldest = years.max().get(name="extremes", reason="range of ages", request_block=True, timeout_secs=60)
youngest = years.min().get(
    name="extremes", reason="range of ages", request_block=True, timeout_secs=60
)
print(f"from {youngest.item():.0f} to {oldest.item():.0f}")
assert (youngest.item(), oldest.item()) == (22, 88)

# %% [markdown]
# All of it, under the same name: the owner's rule does not fall for that. `None` means "not allowed,
# or not in time".

# %%
everything = ages.get(name="extremes", reason="range of ages", request_block=True, timeout_secs=60)
assert everything is None
print(f"the ages themselves: {everything} ({ages.last_request.status})")
duet.close()
print("scientist: done")
