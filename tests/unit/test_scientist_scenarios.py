"""The original's notebook pairs, small, on the real engine: what must work besides MNIST."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import duet_p2p as sy
from duet_p2p.errors import ForeignPointer, NotReleased, RequestDenied

from .scientist_kit import Pair, accept, pair, wait


class Mlp(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.layer1 = self.torch_ref.nn.Linear(4, 20)
        self.layer2 = self.torch_ref.nn.Linear(20, 30)
        self.out = self.torch_ref.nn.Linear(30, 3)

    def forward(self, x: Any) -> Any:
        functional = self.torch_ref.nn.functional
        x = functional.relu(self.layer1(x))
        x = functional.relu(self.layer2(x))
        return functional.log_softmax(self.out(x), dim=1)


def test_ages() -> None:
    with pair(wait) as both:
        ages = both.share(torch.tensor([25, 32, 49, 65, 88, 22]), "ages", description="in years")
        mean = ages.float().mean()
        with pytest.raises(NotReleased):
            mean.get()
        first = mean.request(reason="first")
        both.owner.decide_waiting("deny")
        first.wait(5)
        with pytest.raises(RequestDenied):
            mean.get()
        assert len(both.duet.requests.pandas) == 0
        second = mean.request(reason="second")
        assert second is not first
        both.owner.decide_waiting("accept")
        second.wait(5)
        for _ in range(2):
            assert mean.get() == pytest.approx(46.8333, abs=1e-3)
        both.owner.decide = accept
        assert ages.float().amax().get(request_block=True, reason="max") == 88
        assert ages.float().amin().get(request_block=True, reason="min") == 22
        assert ages.get(request_block=True, delete_obj=False).tolist()[0] == 25
        assert ages.sum().get(request_block=True) == 281


def test_iris() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(150, 4), torch.randint(0, 3, (150,)).float()
    local = Mlp(torch)
    with pair() as both:
        data, target = both.share(x, "iris-data"), both.share(y, "iris-target")
        model = local.send(both.duet)
        remote_torch = both.duet.torch
        optimizer = remote_torch.optim.Adam(params=model.parameters(), lr=0.01)
        reference = torch.optim.Adam(params=local.parameters(), lr=0.01)
        for _ in range(15):
            optimizer.zero_grad()
            loss = remote_torch.nn.functional.nll_loss(model(data), target.long())
            shown = loss.item().get(reason="watch", request_block=True, timeout_secs=5)
            loss.backward()
            optimizer.step()
            reference.zero_grad()
            expected = F.nll_loss(local(x), y.long())
            expected.backward()
            reference.step()
            assert shown == pytest.approx(expected.item(), abs=1e-5)
        got = model.get(request_block=True, reason="test")
        assert torch.allclose(got(x), local(x), atol=1e-4)


class Noted(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.layer = self.torch_ref.nn.Linear(2, 3)
        self.notes: dict[str, list[int]] = {}
        self.same_notes = self.notes
        self.sizes = {"in": [2]}


def test_a_module_that_is_fetched_shares_nothing_with_the_remote_one() -> None:
    with pair() as both:
        remote = Noted(torch).send(both.duet)
        first = remote.get(request_block=True)
        second = remote.get(request_block=True)
    first.notes["loss"] = [1]
    first.sizes["in"].append(3)
    first.layer.register_forward_hook(lambda *_: torch.zeros(1))
    assert first.same_notes is first.notes
    assert (second.notes, second.same_notes, second.sizes) == ({}, {}, {"in": [2]})
    assert (remote.notes, remote.sizes) == ({}, {"in": [2]})
    assert second.layer(torch.ones(1, 2)).shape == (1, 3)
    assert torch.equal(first.layer(torch.ones(1, 2)), torch.zeros(1))
    assert list(second.state_dict()) == ["layer.weight", "layer.bias"]


def test_two_owners_one_scientist() -> None:
    def train(both: Pair, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Any:
        data = both.share(x)
        remote = model.send(both.duet)  # type: ignore[operator]
        optimizer = both.duet.torch.optim.Adam(remote.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            loss = both.duet.torch.nn.functional.mse_loss(remote(data), y)
            loss.backward()
            optimizer.step()
        return remote

    def train_here(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    parts = [(torch.randn(12, 1), torch.randn(12, 1)) for _ in range(2)]
    here = [nn.Linear(1, 1) for _ in range(2)]
    with pair(peer="S-1") as one, pair(peer="S-2") as two:
        remotes = [
            train(both, model, *part)
            for both, model, part in zip((one, two), here, parts, strict=True)
        ]
        for model, part in zip(here, parts, strict=True):
            train_here(model, *part)
        with pytest.raises(ForeignPointer):
            remotes[0].weight + remotes[1].weight
        weights = [remote.parameters().get(request_block=True)[0] for remote in remotes]
        states = [remote.get(request_block=True).state_dict() for remote in remotes]
        combined = nn.Linear(1, 1)
        combined.load_state_dict({k: (states[0][k] + states[1][k]) / 2 for k in states[0]})
        mean = (here[0].weight + here[1].weight) / 2
        assert torch.allclose(combined.weight, mean, atol=1e-5)
        assert torch.allclose(weights[0], here[0].weight, atol=1e-5)


class Vae(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        linear = self.torch_ref.nn.Linear
        self.fc1, self.fc21, self.fc22 = linear(784, 20), linear(20, 4), linear(20, 4)
        self.fc3, self.fc4 = linear(4, 20), linear(20, 784)

    def decode(self, z: Any) -> Any:
        hidden = self.torch_ref.nn.ReLU()(self.fc3(z))
        return self.torch_ref.nn.Sigmoid()(self.fc4(hidden))

    def forward(self, x: Any) -> Any:
        hidden = self.torch_ref.nn.ReLU()(self.fc1(x.view(-1, 784)))
        mu, logvar = self.fc21(hidden), self.fc22(hidden)
        noise = torch.randn(mu.shape)  # a local tensor in a remote expression
        return self.decode(mu + noise * self.torch_ref.exp(0.5 * logvar)), mu, logvar


def test_vae() -> None:
    with pair() as both:
        remote_torch, data = both.duet.torch, both.duet.torch.utils.data
        model = Vae(torch).send(both.duet)
        images, labels = both.share(torch.rand(20, 1, 28, 28)), both.share(torch.arange(20))
        loader = data.DataLoader(data.TensorDataset(images, labels), batch_size=8, shuffle=True)
        optimizer = remote_torch.optim.Adam(model.parameters(), lr=1e-2)
        device = remote_torch.device("cpu")
        assert loader.len().get(request_block=True) == 3
        losses = []
        for _ in range(3):
            for batch in loader:
                x = remote_torch.Tensor(batch[0]).to(device)
                out, mu, logvar = model(x)
                assert out.shape == (x.shape[0], 784)
                bce = remote_torch.nn.BCELoss(reduction="sum")(out, x.view(-1, 784))
                kld = -0.5 * remote_torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
                optimizer.zero_grad()
                (bce + kld).backward()
                optimizer.step()
            losses.append((bce + kld).get(request_block=True).item())
        assert losses[-1] < losses[0]
        assert model.decode(torch.randn(2, 4)).get(request_block=True).shape == (2, 784)
        assert both.owner.failures == []


class Generator(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        layers = self.torch_ref.nn
        self.up1 = layers.ConvTranspose2d(10, 8, 4, 1, 0, bias=False)
        self.norm = layers.BatchNorm2d(8)
        self.relu = layers.ReLU(True)
        self.up2 = layers.ConvTranspose2d(8, 1, 4, 2, 1, bias=False)
        self.tanh = layers.Tanh()

    def forward(self, x: Any) -> Any:
        return self.tanh(self.up2(self.relu(self.norm(self.up1(x)))))


class Judge(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        layers = self.torch_ref.nn
        self.down = layers.Conv2d(1, 4, 4, 2, 1, bias=False)
        self.leaky = layers.LeakyReLU(0.2, inplace=True)
        self.norm = layers.BatchNorm2d(4)
        self.out = layers.Conv2d(4, 1, 4, 1, 0, bias=False)
        self.sigmoid = layers.Sigmoid()

    def forward(self, x: Any) -> Any:
        return self.sigmoid(self.out(self.norm(self.leaky(self.down(x)))))


def test_dcgan() -> None:
    with pair() as both:
        remote_torch = both.duet.torch
        generator, judge = Generator(torch).send(both.duet), Judge(torch).send(both.duet)
        options = {"lr": 2e-4, "betas": (0.5, 0.999)}
        optimizer_g = remote_torch.optim.Adam(generator.parameters(), **options)
        optimizer_j = remote_torch.optim.Adam(judge.parameters(), **options)
        criterion = remote_torch.nn.BCELoss()
        real = both.share(torch.randn(16, 1, 8, 8))
        noise = torch.randn(16, 10, 1, 1).tag("noise").send(both.duet, pointable=True)
        for _ in range(2):
            optimizer_j.zero_grad()
            out = judge(real).view(-1)
            label = remote_torch.zeros_like(out).fill_(1.0)
            criterion(out, label).backward()
            fake = generator(noise)
            label.fill_(0.0)
            error = criterion(judge(fake.detach()).view(-1), label)
            error.backward()
            optimizer_j.step()
            optimizer_g.zero_grad()
            out = judge(fake).view(-1).squeeze()
            criterion(out, remote_torch.ones_like(out)).backward()
            optimizer_g.step()
        assert 0 < out.mean().item().get(request_block=True) < 1
        assert fake.get(request_block=True).shape == (16, 1, 8, 8)
        assert int(generator.get(request_block=True).norm.num_batches_tracked) == 2
        assert int(judge.get(request_block=True).norm.num_batches_tracked) == 6
        assert both.owner.failures == []


class Policy(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.affine = self.torch_ref.nn.Linear(4, 8)
        self.dropout = self.torch_ref.nn.Dropout(p=0.6)
        self.action = self.torch_ref.nn.Linear(8, 2)
        self.value = self.torch_ref.nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        x = self.torch_ref.relu(self.dropout(self.affine(x)))
        return self.torch_ref.softmax(self.action(x), dim=1), self.value(x)


def test_reinforce_and_actor_critic() -> None:
    with pair() as both:
        remote_torch, python = both.duet.torch, both.duet.python
        policy = Policy(torch).send(both.duet)
        optimizer = remote_torch.optim.Adam(policy.parameters(), lr=1e-2)
        state = both.share(torch.randn(4))
        log_probs, rewards, values = [], [], []
        for _ in range(3):
            probs, value = policy(state.float().unsqueeze(0))
            chosen = remote_torch.distributions.Categorical(probs)
            action = chosen.sample()
            log_probs.append(chosen.log_prob(action))
            rewards.append(python.Float(1.0))
            values.append(value)
        reward, returns = python.Float(0), python.List([])
        for r in rewards[::-1]:
            reward = r + 0.99 * reward
            returns.insert(0, reward)
        returns = remote_torch.Tensor(returns)
        assert returns.get().tolist() == pytest.approx([2.9701, 1.99, 1.0])
        returns = (returns - returns.mean()) / (returns.std() + 1e-5)
        losses = python.List([])
        for log_prob, one in zip(log_probs, returns, strict=True):
            losses.append(-log_prob * one)
        critic = [F.smooth_l1_loss(value.reshape(1), torch.ones(1)) for value in values]
        optimizer.zero_grad()
        loss = remote_torch.cat(losses).sum() + remote_torch.stack(critic).sum()
        loss.backward()
        optimizer.step()
        assert isinstance(loss.item().get(request_block=True), float)
        assert action.item().get(request_block=True) in (0, 1)
        assert both.owner.failures == []


def test_super_resolution() -> None:
    class Net(sy.Module):
        def __init__(self, torch_ref: Any) -> None:
            super().__init__(torch_ref=torch_ref)
            self.conv = self.torch_ref.nn.Conv2d(1, 4, (3, 3), (1, 1), (1, 1))
            self.shuffle = self.torch_ref.nn.PixelShuffle(2)
            nn.init.orthogonal_(self.conv.weight, nn.init.calculate_gain("relu"))

        def forward(self, x: Any) -> Any:
            return self.shuffle(self.conv(x))

    with pair() as both:
        x, y = both.share(torch.randn(6, 1, 8, 8)), both.share(torch.randn(6, 1, 16, 16))
        count = both.share(6, "n")
        model = Net(torch).send(both.duet)

        class Pointers:
            def __len__(self) -> int:
                return int(count.get(request_block=True))

            def __getitem__(self, i: int) -> Any:
                return x[i], y[i]

        loader = DataLoader(Pointers(), shuffle=True, collate_fn=lambda items: items[0])  # type: ignore[arg-type]
        steps = 0
        for data, target in loader:
            out = model(data.unsqueeze(0))
            loss = both.duet.torch.nn.MSELoss()(out, target.unsqueeze(0))
            loss.backward()
            steps += 1
        assert steps == 6
        assert loss.item().get(request_block=True) > 0
