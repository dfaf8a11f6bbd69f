# %% [markdown]
# # Text by characters, the owner's side
#
# You have a text. A scientist trains a network to write like it.

# %%
import codecs
import contextlib
import io
import time

import torch

import duet_p2p as sy

duet = sy.launch_duet()

# %% [markdown]
# The text is the poem that ships with Python. Its characters as numbers, cut into windows of 24, and
# the same windows one character later. The alphabet is public: it says nothing about the text's order.

# %%
with contextlib.redirect_stdout(io.StringIO()):
    import this
text = codecs.decode(this.s, "rot13")
alphabet = "".join(sorted(set(text)))
numbers = torch.tensor([alphabet.index(character) for character in text])
windows = numbers.unfold(0, 25, 8)
windows[:, :-1].contiguous().tag("text").describe("windows of 24 characters").send(duet)
windows[:, 1:].contiguous().tag("next").describe("the same, a character later").send(duet)
duet.send(alphabet, tags=["alphabet"], description="which character has which number")

# %% [markdown]
# A recurrent network reads each window by itself, but the guard does not follow records through `LSTM`,
# so the loss counts as one that may tell about single windows. You let single numbers go. The alphabet
# is yours as well and is given to whoever asks for it under that name, as it is, once.

# %%
duet.requests.add_handler(
    name="loss",
    action="accept",
    kinds={"aggregate", "per_record"},
    min_records=1,
    max_uses=200,
    print_local=True,
)
duet.requests.add_handler(
    name="alphabet",
    action="accept",
    kinds={"verbatim"},
    min_records=1,
    max_elements=len(alphabet),
    max_uses=1,
)

# %% [markdown]
# Such a network can learn a text by heart: that is what it is for, and why you decide by hand whether it
# leaves. For the guard it is `per_record`, which windows of the text with something added would be too. So
# a person reads here how the value was computed: it must be the network's own parameters. The loop below
# only looks at the name and the kind.

# %%
released = 0
while duet.is_open:
    for request in duet.requests:
        print(f"{request.name!r} waits: {request.kind}, {request.elements:,} numbers", flush=True)
        print(f"  computed as {str(request.recipe)[:200]} ...", flush=True)
        if request.name == "model" and request.kind in ("model", "per_record") and not released:
            request.accept()
            released += 1
        else:
            request.deny("the text stays here")
    time.sleep(0.05)
duet.close()

# %% [markdown]
# What was asked for, and what the guard knew about it.

# %%
for name, kind, records, injected in sorted(
    {(r.name, r.kind, r.min_records, r.injected) for r in duet.requests.history}
):
    print(f"{name}: {kind}, {records} record(s){', scientist values mixed in' if injected else ''}")
denied = [r.name for r in duet.requests.history if "Rejected" in str(r.status)]
print(f"owner: {released} model left, denied {denied}")
assert released == 1 and denied == ["alphabet"]
