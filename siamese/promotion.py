"""Is a challenger better than the champion, by more than noise?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from siamese.calibration import CalibrationError, calibrate
from siamese.config import PolicySettings
from siamese.intervals import bootstrap_over_writers
from siamese.metrics import cllr, cllr_min, eer, false_accept_rate
from siamese.trials import Floats, Trials

#: Most that Cllr may be above Cllr_min for the calibration to be healthy.
CALIBRATION_LIMIT = 0.2
_FEWEST_WRITERS = 5


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, the sentence that says why, and the figures it rests on.

    ``difference`` is EER_skilled of the challenger minus that of the champion on the same
    pairs, with its 95 % interval: below 0 the challenger is better.
    """

    promote: bool
    why: str
    difference: float
    low: float
    high: float


def incomparable(pairs: pd.DataFrame, known: set[str], invented: set[str] | None) -> str:
    """Why pairs cannot decide between a challenger and a champion; empty where they can.

    Parameters
    ----------
    pairs : those of writers that the champion was not trained on. known : those that it was.
    invented : labels of the challenger's sources, where these are all generated.
    """
    if invented is not None and any(name.partition(":")[0] not in invented for name in known):
        return (
            "Not promoted: it was trained on invented signatures alone, and the champion on real "
            "ones. Give the run the champion's sources: [[sources]] in siamese.toml."
        )
    left = pairs.loc[pairs["kind"] == "skilled_forgery", "writer"].nunique()
    if left < _FEWEST_WRITERS:
        return (
            f"Not promoted: only {left} calibration writers were not in the champion's training, "
            f"and a comparison needs {_FEWEST_WRITERS}."
        )
    return ""


def judge(champion: Trials, challenger: Trials, *, policy: PolicySettings, seed: int) -> Verdict:
    """Compare two verifiers on the same trials, in the same order, under one policy.

    Promoted when EER_skilled is lower by more than noise (paired bootstrap over writers: the
    whole interval of the difference below 0), FAR_skilled at the policy is not higher by more
    than noise, and the calibration is healthy: :data:`CALIBRATION_LIMIT`. For the latter two
    both are calibrated anew on half of the writers, in turn, and looked at on the other half:
    on those that a threshold was fitted on, its FAR is that of the policy.

    Parameters
    ----------
    champion, challenger : genuine trials, skilled and random forgeries.
    """
    skilled = np.flatnonzero(np.isin(champion.kind, ["genuine", "skilled_forgery"]))
    old, new = champion.take(skilled), challenger.take(skilled)
    before, after = crossed(champion, policy), crossed(challenger, policy)

    def eer_gap(weights: Floats) -> Floats:
        return eer(-new.distance, new.label, weights) - eer(-old.distance, old.label, weights)

    def far_gap(weights: Floats) -> Floats:
        rates = [
            false_accept_rate(one.to_spare[skilled], new.label, 0.0, weights)
            for one in (after, before)
        ]
        return rates[0] - rates[1]

    gap, far = (
        bootstrap_over_writers(
            statistic,
            old.writer,
            n=len(old.label),
            resamples=policy.bootstrap,
            seed=seed,
        )
        for statistic in (eer_gap, far_gap)
    )
    told = (
        f"EER_skilled differs by {gap.value * 100:+.1f} points "
        f"[{gap.low * 100:+.1f}, {gap.high * 100:+.1f}] on {gap.writers} writers"
    )
    loss = above_min(challenger, after)
    promote, why = False, ""
    if gap.high >= 0:
        why = f"Not promoted: {told}; that is not better by more than noise."
    elif far.low > 0:
        why = (
            f"Not promoted: {told}, but on writers that thresholds were not fitted on, FAR_skilled "
            f"at the policy rises by {far.value * 100:.1f} points [{far.low * 100:.1f}, "
            f"{far.high * 100:.1f}]."
        )
    elif loss > CALIBRATION_LIMIT:
        why = (
            f"Not promoted: {told}, but its calibration does not hold on other writers: Cllr "
            f"is {loss:.2f} above Cllr_min, and {CALIBRATION_LIMIT} is tolerated."
        )
    else:
        promote, why = True, f"Promoted: {told}."
    return Verdict(promote, why, gap.value, gap.low, gap.high)


class Crossed(NamedTuple):
    """What N trials are told by a calibration on the other half of the writers.

    log10_lr : (N,). to_spare : (N,) how much nearer the distance is than would be accepted.
    """

    log10_lr: Floats
    to_spare: Floats


def above_min(trials: Trials, crossed: Crossed) -> float:
    """Cllr − Cllr_min, each kind of forgery as often as it is there; infinite without an LR."""
    if np.isnan(crossed.log10_lr).any():
        return np.inf
    loss = float(cllr(crossed.log10_lr, trials.label))
    return loss - cllr_min(-trials.distance, trials.label)


def crossed(trials: Trials, policy: PolicySettings) -> Crossed:
    """Trials by calibrations on the other half of their writers.

    nan, and all is accepted, where a half cannot be calibrated.
    """
    names = np.unique(trials.writer)
    ratio, spare = np.full((2, len(trials.distance)), np.nan)
    spare[:] = np.inf
    for half in (names[::2], names[1::2]):
        inside = np.isin(trials.writer, half)
        try:
            fitted = calibrate(trials.take(np.flatnonzero(~inside)), policy)
        except CalibrationError:
            continue
        ratio[inside] = fitted.log10_lr(trials.distance[inside])
        spare[inside] = fitted.accept_at - trials.distance[inside]
    return Crossed(ratio, spare)
