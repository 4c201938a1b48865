"""The figures of one row of the accuracy benchmark, from its vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
from accuracy_data import SEED, SOURCES, Data

from siamese.calibration import Calibration, calibrate
from siamese.config import PairSettings, PolicySettings
from siamese.evaluation import evaluate
from siamese.stretch import near_hands, nearest_usual, stretch
from siamese.trials import Trials, fused_trials, pair_distances, single_trials

AS_THEY_ARE = "as they are"
ALL = PairSettings()
#: As the open anchor draws them.
MIXED = PairSettings(max_genuine=40, max_skilled=20, max_random=20)
POLICY = PolicySettings(bootstrap=300)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Seen:
    """All signatures as a row sees them.

    vectors : (N, E), nan where imaging refuses a picture. usual : how near hands usually lie, by
    which distances are stretched; 0 where they are not.
    """

    data: Data
    vectors: Floats
    usual: float = 0.0

    def near(self, split: str, source: str) -> float:
        """How near hands lie, of the genuine signatures."""
        images = self.data.images
        mine = (images["split"] == split) & (images["source"] == source)
        mine = (mine & (images["kind"] == "genuine")).to_numpy() & self.taken
        return near_hands(self.vectors[mine], images["writer"].to_numpy(str)[mine])

    def trials(self, split: str, source: str, n: int = 1, settings: PairSettings = ALL) -> Trials:
        """As calibration has them."""
        ids = self.data.images["image_id"].to_numpy(str)
        pairs = self.data.pairs(split, settings)
        pairs = pairs[pairs["writer"].str.startswith(f"{source}:")]
        known = set(ids[self.taken])
        pairs = pairs[pairs[["reference_id", "questioned_id"]].isin(known).all(axis=1)]
        if n == 1:
            return single_trials(pairs, pair_distances(pairs, ids, self.vectors))
        return fused_trials(pairs, ids, self.vectors, n, SEED)

    def as_decided(self, source: str, n: int = 1, settings: PairSettings = ALL) -> Trials:
        """Test trials as bulk scoring would have them."""
        raw = self.trials("test", source, n, settings)
        return raw.stretched(self.stretched_by(source)) if self.usual else raw

    def stretched_by(self, source: str) -> float:
        return stretch(self.near("test", source), self.usual)

    @property
    def taken(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.vectors[:, 0])


def measure(data: Data, sources: Sequence[str], made: Mapping[str, Floats]) -> dict[str, Any]:
    """Figures by source: with one reference, with five, on mixed pairs, and on worse scans.

    Parameters
    ----------
    sources : that are calibrated on. made : vectors of all pictures :data:`AS_THEY_ARE`, and of
        those of calibration and test writers after other changes, nan where they are refused.

    Raises
    ------
    CalibrationError : they do not tell genuine signatures from forgeries.
    """
    seen = _Seen(data, made[AS_THEY_ARE])
    # The baselines' vectors, and strokes with no network, are not of unit length.
    if np.abs(np.linalg.norm(seen.vectors, axis=1) - 1).max() < 1e-3:
        usual = nearest_usual([seen.near("calibration", source) for source in sources])
        seen = replace(seen, usual=usual)
    calibrations = {n: calibrate(_pooled(seen, sources, n), POLICY) for n in (1, 5)}
    found: dict[str, Any] = {}
    for source in SOURCES:
        for n, calibration in calibrations.items():
            found[f"{source} {n}"] = _figures(seen.as_decided(source, n), calibration)
        # Which ideas stay is read from these writers, whom no step is trained on.
        known = seen.trials("calibration", source)
        found[f"{source} calibration"] = _figures(known, calibrations[1])
        mixed = seen.as_decided(source, settings=MIXED)
        found[f"{source} mixed"] = _figures(mixed, calibrations[1])
        raw = seen.trials("test", source, settings=MIXED)
        found[f"{source} mixed, not stretched"] = _figures(raw, calibrations[1])
        found[f"{source} stretch"] = seen.stretched_by(source)
        with mock.patch("siamese.trials.fuse", lambda gaps, spread: gaps.mean(axis=-1)):
            by_mean = calibrate(_pooled(seen, sources, 5), POLICY)
            found[f"{source} 5 mean"] = _figures(seen.as_decided(source, 5), by_mean)
    for name, vectors in made.items():
        if name != AS_THEY_ARE:
            found |= _worse(seen, vectors, name, calibrations[1])
    return found


def _worse(seen: _Seen, vectors: Floats, name: str, calibration: Calibration) -> dict[str, Any]:
    """The same on pictures that are scanned worse: (M, E) of calibration and test writers."""
    images = seen.data.images
    others = seen.vectors.copy()
    others[images["split"] != "train"] = vectors
    again = replace(seen, vectors=others)
    found: dict[str, Any] = {}
    for source in SOURCES:
        known = again.trials("calibration", source)
        found[f"{source} calibration, {name}"] = _figures(known, calibration)
        mine = (images["source"] == source) & (images["split"] == "test")
        refused = float(1 - again.taken[mine].mean())
        figures = _figures(again.as_decided(source), calibration)
        found[f"{source} 1, {name}"] = {**figures, "refused": refused}
    return found


def _pooled(seen: _Seen, sources: Sequence[str], n: int) -> Trials:
    both = [seen.trials("calibration", source, n).to_frame() for source in sources]
    return Trials.from_frame(pd.concat(both))


def _figures(trials: Trials, calibration: Calibration) -> dict[str, Any]:
    return evaluate(trials, calibration, POLICY, SEED).to_dict()
