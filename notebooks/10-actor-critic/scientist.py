# %% [markdown]
# # Actor and critic, the scientist's side
#
# The agent's eyes and hands are pointers: which room it is in, which action it drew, what it was paid.

# %%
import os
import sys
import time

import torch

import duet_p2p as sy

QUICK = "--quick" in sys.argv or os.environ.get("DUET_QUICK") == "1"
EPISODES = 8 if QUICK else 60
STEPS = 12
GAMMA = 0.9

duet = sy.join_duet()
rt = duet.torch
F = rt.nn.functional
while len(duet.store) < 2:
    time.sleep(0.05)
moves, rewards = duet.store["moves"], duet.store["rewards"]
ROOMS, ACTIONS = moves.shape


# %% [markdown]
# One network with two heads: what to do, and what to expect.


# %%
class Agent(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.affine = self.torch_ref.nn.Linear(ROOMS, 32)
        self.action_head = self.torch_ref.nn.Linear(32, ACTIONS)
        self.value_head = self.torch_ref.nn.Linear(32, 1)

    def forward(self, x):
        F = self.torch_ref.nn.functional
        x = F.relu(self.affine(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


torch.manual_seed(3)
agent = Agent(torch).send(duet)
optimizer = rt.optim.Adam(agent.parameters(), lr=0.02)
rt.manual_seed(3)


# %% [markdown]
# One episode: the action is drawn on the owner's side, and the next room is looked up there.


# %%
def play():
    saved, paid = [], []
    room = rt.tensor(0)
    for _ in range(STEPS):
        chances, value = agent(F.one_hot(room, ROOMS).float())
        drawn = rt.distributions.Categorical(chances)
        action = drawn.sample()
        saved.append((drawn.log_prob(action), value))
        paid.append(rewards[room, action].item())
        room = moves[room, action]
    return saved, paid


# %% [markdown]
# Returns are added up backwards, in Python numbers and a list that live on the owner's side. To go
# through the tensor that is made of them its length is needed: that is asked for.


# %%
def learn(saved, paid):
    R = duet.python.Float(0)
    returns = duet.python.List([])
    for r in reversed(paid):
        R = r + GAMMA * R
        returns.insert(0, R)
    returns = rt.Tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + 1e-4)
    policy_losses = duet.python.List([])
    value_losses = duet.python.List([])
    for (log_prob, value), R in zip(saved, returns):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, R.reshape(1)))
    optimizer.zero_grad()
    loss = rt.stack(policy_losses).sum() + rt.stack(value_losses).sum()
    loss.backward()
    optimizer.step()


# %%
history = []
for episode in range(EPISODES):
    saved, paid = play()
    total = duet.python.Float(0)
    for r in paid:
        total += r
    got = total.get(name="return", reason="is it learning?", request_block=True, timeout_secs=60)
    assert got is not None
    history.append(got)
    print(f"episode {episode:2d}  paid {got:.2f}")
    learn(saved, paid)

# %% [markdown]
# The agent itself stays with the owner; what it learnt shows in what it is paid.

# %%
assert agent.get(name="agent", reason="to keep", request_block=True, timeout_secs=60) is None
third = len(history) // 3
first, last = sum(history[:third]) / third, sum(history[-third:]) / third
print(f"paid per episode: at first {first:.2f}, at the end {last:.2f}")
assert last > first
duet.close()
print("scientist: done")
