"""A training step in mixed precision against the same step in float32, in one run.

    python benchmarks/training_step.py

Prints images a second for both, their ratio, and the machine. The two take turns, so that a
noisy machine slows both; the ratio is of medians.
"""

from __future__ import annotations

import platform
import statistics
import time

import torch

from siamese.augment import augment
from siamese.config import NetworkSettings
from siamese.loss import batch_contrastive
from siamese.model import SignatureNet, build_network, choose_device, to_input
from siamese.training import autocast

BATCH, ROUNDS, STEPS = 80, 5, 3


def step(network: SignatureNet, optimiser: torch.optim.Optimizer, mixed: bool) -> None:
    """One optimiser step on random canvases, as training takes it."""
    device = next(network.parameters()).device
    canvases = torch.randint(0, 255, (BATCH, 96, 192), dtype=torch.uint8, device=device)
    inputs = augment(to_input(canvases), torch.Generator(device).manual_seed(1))
    with autocast(device) if mixed else torch.autocast(device.type, enabled=False):
        embeddings = network(inputs)
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
    device = choose_device("auto")
    network = build_network(NetworkSettings(), seed=1).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters())
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for mixed in (True, False):
        step(network, optimiser, mixed)
    for _ in range(ROUNDS):
        for mixed, found in speeds.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                step(network, optimiser, mixed)
            if device.type == "cuda":
                torch.cuda.synchronize()
            found.append(BATCH * STEPS / (time.perf_counter() - started))
    mixed, full = (statistics.median(speeds[key]) for key in (True, False))
    print(f"{platform.processor() or platform.machine()}, {device}, torch {torch.__version__}")
    print(f"mixed {mixed:.0f} images/s, float32 {full:.0f} images/s, ratio {mixed / full:.2f}")


if __name__ == "__main__":
    main()
