"""A verifier too small to have learnt anything, and trials as a good one would have."""

from __future__ import annotations

import numpy as np

from siamese.calibration import calibrate
from siamese.config import ImagingSettings, NetworkSettings, PolicySettings
from siamese.model import build_network
from siamese.trials import Trials
from siamese.verifier import Verifier

POLICY = PolicySettings(bootstrap=100)


def trials(seed: int, shift: float = 0.5, writers: int = 12, each: int = 30) -> Trials:
    """Genuine around 0.5, random around 1.4, skilled ``shift`` above genuine."""
    rng = np.random.default_rng(seed)
    distance, kind, writer = [], [], []
    for w in range(writers):
        own = rng.normal(0, 0.05)
        for name, centre in (
            ("genuine", 0.5),
            ("skilled_forgery", 0.5 + shift),
            ("random_forgery", 1.4),
        ):
            distance.append(np.clip(rng.normal(centre + own, 0.18, each), 0, 2))
            kind += [name] * each
            writer += [f"w{w}"] * each
    flat = np.concatenate(distance)
    questioned = np.array([f"q{i}" for i in range(len(flat))])
    whose = np.array(writer)
    return Trials(1, flat, np.array(kind), whose, questioned, np.zeros(len(flat)), whose)


def small_verifier() -> Verifier:
    """Untrained, calibrated on invented trials."""
    network = NetworkSettings(widths=(4, 8, 8), embedding=8)
    return Verifier(
        build_network(network, 1).eval(),
        network,
        ImagingSettings(),
        POLICY,
        (calibrate(trials(1), POLICY),),
        {"seed": 1},
    )
