"""The two networks that ours is held against, trained on pairs with the loss of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Canvases = npt.NDArray[np.uint8]


class NotebookNet(nn.Module):
    """The notebook's: 100 × 100 in, conv5-50, conv5-60, conv3-80, fully connected 128, 2."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 50, 5), nn.ReLU(), nn.BatchNorm2d(50), nn.MaxPool2d(2),
            nn.Conv2d(50, 60, 5), nn.ReLU(), nn.BatchNorm2d(60), nn.MaxPool2d(2),
            nn.Conv2d(60, 80, 3), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(32000, 128), nn.ReLU(), nn.Linear(128, 2))

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 100, 100)
        return self.head(self.features(x).flatten(1))


class SigNetLike(nn.Module):
    """After SigNet (Dey et al. 2017; strides of Hafemann et al. 2017): 155 × 220 in, 128 out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 96, 11, stride=4), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2), nn.BatchNorm2d(256), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.BatchNorm2d(384), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Dropout(0.3), nn.LazyLinear(1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 128)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 155, 220)
        return self.head(self.features(x).flatten(1))


def resized(canvases: Canvases, height: int, width: int) -> Tensor:
    """uint8 (N, H, W) to float (N, 1, height, width) in [0, 1]."""
    whole = torch.from_numpy(np.ascontiguousarray(canvases))[:, None].float() / 255
    return F.interpolate(whole, (height, width), mode="bilinear", antialias=True)


def train_on_pairs(
    network: nn.Module,
    inputs: Tensor,
    pairs: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    optimiser: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    margin: float,
    epochs: int,
    batch: int,
    seed: int,
) -> None:
    """The pairs one after another, both pictures of each through the network each time.

    Parameters
    ----------
    inputs : (N, 1, H, W). pairs : (P, 2) places in it. labels : (P,) 1 genuine, 0 forgery.
    """
    torch.manual_seed(seed)
    network.train()
    with torch.no_grad():
        network(inputs[:2])  # lazy layers take their size
    steps = optimiser(network)
    order = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in np.array_split(order.permutation(len(pairs)), max(len(pairs) // batch, 1)):
            left, right = (network(inputs[pairs[rows, side]]) for side in (0, 1))
            distance = F.pairwise_distance(left, right)
            genuine = torch.from_numpy(labels[rows]).float()
            loss = genuine * distance.square()
            loss = loss + (1 - genuine) * (margin - distance).clamp(min=0).square()
            steps.zero_grad(set_to_none=True)
            loss.mean().backward()
            steps.step()
    network.eval()


def embed_with(network: nn.Module, inputs: Tensor, batch: int = 64) -> npt.NDArray[np.float32]:
    """Vectors (N, E)."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in inputs.split(batch)]).numpy()
