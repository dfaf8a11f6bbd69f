"""The walk-through's network: two convolutions, two linear layers, 1,199,882 parameters."""

from __future__ import annotations

from typing import Any

import duet_p2p as sy

__all__ = ["SyNet"]


class SyNet(sy.Module):
    """Digits of shape (N, 1, 28, 28) to log-probabilities of shape (N, 10)."""

    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.conv1 = self.torch_ref.nn.Conv2d(1, 32, 3, 1)
        self.conv2 = self.torch_ref.nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = self.torch_ref.nn.Dropout2d(0.25)
        self.dropout2 = self.torch_ref.nn.Dropout(0.5)
        self.fc1 = self.torch_ref.nn.Linear(9216, 128)
        self.fc2 = self.torch_ref.nn.Linear(128, 10)

    def forward(self, x: Any) -> Any:
        """Ordinary torch code; `torch_ref` is torch here, the owner's on a remote model."""
        functional = self.torch_ref.nn.functional
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.conv2(x))
        x = functional.max_pool2d(x, 2)
        x = self.torch_ref.flatten(self.dropout1(x), 1)
        x = functional.relu(self.fc1(x))
        x = self.fc2(self.dropout2(x))
        return functional.log_softmax(x, dim=1)
