"""A training step in mixed precision and in float32, and against pairs-twice-through, in one run.

    python benchmarks/training_step.py [--rounds 5] [--steps 3] [--hand-back]

Pairs-twice-through is the notebook's step on the same network, augmentation and precision: 40
pairs, their left pictures through the network and then their right ones. Prints images and pairs
a second of each, ratios, and the machine. All take turns, so that a noisy machine slows all; the
ratios are of medians. With --hand-back freed memory goes back to the system between steps, as it
does where siamese.memory.hold_memory is not called.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import machine

from siamese.augment import augment
from siamese.config import NetworkSettings, TrainingSettings
from siamese.loss import batch_contrastive, pair_loss
from siamese.memory import hold_memory
from siamese.model import SignatureNet, build_network, choose_device, to_input
from siamese.sampling import group_by_writer, sample_batch
from siamese.training import HELD, autocast

BATCH = 80
_DRAWN = 200  # batches


def drawing() -> Callable[[int], torch.Tensor]:
    """What draws the batch of a step from canvases of 112 writers in memory, as training does."""
    writers = np.repeat(np.arange(112), 48)
    groups = group_by_writer(writers, np.tile(np.arange(48) < 24, 112))
    canvases = torch.full((len(writers), 144, 288), 7, dtype=torch.uint8)
    settings = TrainingSettings()

    def draw(number: int) -> torch.Tensor:
        rows = sample_batch(
            groups,
            number,
            seed=1,
            writers_per_batch=settings.writers_per_batch,
            genuine_per_writer=settings.genuine_per_writer,
            forgeries_per_writer=settings.forgeries_per_writer,
        )
        return canvases[torch.from_numpy(rows)]

    return draw


def inputs_of(network: SignatureNet) -> torch.Tensor:
    """Random canvases, augmented."""
    device = next(network.parameters()).device
    canvases = torch.randint(0, 255, (BATCH, 144, 288), dtype=torch.uint8, device=device)
    return augment(to_input(canvases), torch.Generator(device).manual_seed(1))


def twice_through(network: SignatureNet, optimiser: torch.optim.Optimizer) -> None:
    """One optimiser step on 40 pairs, as the notebook takes it."""
    left, right = inputs_of(network).chunk(2)
    with autocast(left.device):
        one, other = network.shape(left), network.shape(right)
    distance = (one - other).square().sum(1).clamp(min=1e-8).sqrt()
    label = torch.arange(len(left), device=left.device) % 2
    optimiser.zero_grad()
    pair_loss(distance, label.float(), 0.2, 1.0).mean().backward()
    optimiser.step()


def step(network: SignatureNet, optimiser: torch.optim.Optimizer, mixed: bool) -> None:
    """One optimiser step on all pairs of 80 images, as training takes it."""
    inputs = inputs_of(network)
    device = inputs.device
    with autocast(device) if mixed else torch.autocast(device.type, enabled=False):
        embeddings = network.shape(inputs)
    writers = torch.arange(BATCH, device=device) // 5
    terms = batch_contrastive(
        embeddings,
        writers,
        torch.arange(BATCH, device=device) % 5 < 3,
        margin_genuine=0.2,
        margin_forgery=1.0,
        skilled_weight=1.0,
        random_weight=1.0,
    )
    optimiser.zero_grad()
    terms.total.backward()
    optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of each way in a round")
    parser.add_argument("--hand-back", action="store_true", help="hand freed memory back")
    arguments = parser.parse_args()
    if not arguments.hand_back:
        hold_memory(HELD)
    device = choose_device("auto")
    network = build_network(NetworkSettings(), seed=1).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters())
    ways: dict[str, Callable[[], None]] = {
        "mixed": lambda: step(network, optimiser, mixed=True),
        "float32": lambda: step(network, optimiser, mixed=False),
        "twice": lambda: twice_through(network, optimiser),
    }
    draw = drawing()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(arguments.steps):
                way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            speeds[name].append(BATCH * arguments.steps / (time.perf_counter() - started))
    mixed, full, twice = (statistics.median(speeds[name]) for name in ways)
    began = time.perf_counter()
    for number in range(_DRAWN):
        draw(number)
    drawn = (time.perf_counter() - began) / _DRAWN
    pairs = (BATCH - 1) / 2  # that an image stands for, where all pairs of a batch are learnt from
    print(f"{machine()}, {device}, torch {torch.__version__}")
    print(f"mixed {mixed:.0f} images/s, float32 {full:.0f} images/s, ratio {mixed / full:.2f}")
    print(
        f"pairs twice through {twice:.0f} images/s, {twice / 2:.0f} pairs/s; all pairs of a batch "
        f"{mixed:.0f} images/s (ratio {mixed / twice:.2f}), {mixed * pairs:.0f} pairs/s "
        f"(ratio {mixed * pairs / (twice / 2):.0f})"
    )
    print(
        f"to draw a batch and read it takes {1000 * drawn:.1f} ms, "
        f"{drawn * mixed / BATCH:.1%} of a step in mixed precision"
    )


if __name__ == "__main__":
    main()
