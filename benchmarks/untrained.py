"""A verifier of the full size that has learnt nothing: speed does not depend on what is learnt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siamese.calibration import calibrate
from siamese.config import ImagingSettings, NetworkSettings, PolicySettings
from siamese.fitting import fit_strokes
from siamese.model import build_network
from siamese.record import Record
from siamese.trials import Trials
from siamese.verifier import Verifier


def untrained(canvases: npt.NDArray[np.uint8]) -> Verifier:
    """With the words and axes of some canvases, and calibrated on invented distances."""
    policy, network = PolicySettings(bootstrap=100), NetworkSettings()
    net = build_network(network, 1).eval()
    everyone = (np.arange(len(canvases)) // 4).astype(str)
    fit_strokes(net, canvases, everyone, np.ones(len(canvases), bool), 1)
    trials = tuple(_invented(n) for n in (1, 5))
    return Verifier(
        net,
        network,
        ImagingSettings(),
        policy,
        tuple(calibrate(one, policy) for one in trials),
        {"seed": 1},
        Record(calibration=trials, test=trials),
        near_hands=0.2,
    )


def _invented(n_references: int) -> Trials:
    rng = np.random.default_rng(n_references)
    kinds = np.repeat(["genuine", "skilled_forgery", "random_forgery"], 200)
    centres = np.repeat([0.1, 0.2, 0.3], 200)
    distance = np.clip(rng.normal(centres, 0.05), 0, 2)
    writers = np.array([f"w{i % 20}" for i in range(600)])
    asked = np.array([f"q{i}" for i in range(600)])
    return Trials(n_references, distance, kinds, writers, asked, np.zeros(600), writers)
