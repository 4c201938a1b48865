"""Is a challenger better than the champion, by more than noise?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from siamese.calibration import Calibration, CalibrationError, calibrate
from siamese.config import PolicySettings
from siamese.metrics import bootstrap_over_writers, cllr, cllr_min, eer, false_accept_rate
from siamese.trials import Floats, Trials

#: Most that Cllr may be above Cllr_min for the calibration to be healthy.
CALIBRATION_LIMIT = 0.2


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


def judge(
    champion: Trials,
    challenger: Trials,
    champion_calibration: Calibration,
    challenger_calibration: Calibration,
    *,
    policy: PolicySettings,
    seed: int,
) -> Verdict:
    """Compare two verifiers on the same trials, in the same order.

    Promoted when EER_skilled is lower by more than noise (paired bootstrap over writers: the
    whole interval of the difference below 0) and FAR_skilled at the policy is not higher by
    more than noise, and its calibration is healthy: see :func:`crossed_calibration`.
    """
    keep = np.isin(champion.kind, ["genuine", "skilled_forgery"])
    old, new = (t.take(np.flatnonzero(keep)) for t in (champion, challenger))

    def eer_gap(weights: Floats) -> Floats:
        return eer(-new.distance, new.label, weights) - eer(-old.distance, old.label, weights)

    def far_gap(weights: Floats) -> Floats:
        return false_accept_rate(
            -new.distance, new.label, -challenger_calibration.accept_at, weights
        ) - false_accept_rate(-old.distance, old.label, -champion_calibration.accept_at, weights)

    gap, far = (
        bootstrap_over_writers(
            statistic,
            old.writer,
            n=len(old.label),
            resamples=policy.bootstrap,
            seed=seed,
            rate=False,
        )
        for statistic in (eer_gap, far_gap)
    )
    told = (
        f"EER_skilled differs by {gap.value * 100:+.1f} points "
        f"[{gap.low * 100:+.1f}, {gap.high * 100:+.1f}] on {gap.writers} writers"
    )
    if gap.high >= 0:
        promote, why = False, f"Not promoted: {told}; that is not better by more than noise."
    elif far.low > 0:
        promote, why = (
            False,
            (
                f"Not promoted: {told}, but FAR_skilled at the policy rises by "
                f"{far.value * 100:.1f} points [{far.low * 100:.1f}, {far.high * 100:.1f}]."
            ),
        )
    elif (loss := crossed_calibration(new, policy)) > CALIBRATION_LIMIT:
        promote, why = (
            False,
            (
                f"Not promoted: {told}, but its calibration does not hold on other writers: Cllr "
                f"is {loss:.2f} above Cllr_min, and {CALIBRATION_LIMIT} is tolerated."
            ),
        )
    else:
        promote, why = True, f"Promoted: {told}."
    return Verdict(promote, why, gap.value, gap.low, gap.high)


def crossed_calibration(trials: Trials, policy: PolicySettings) -> float:
    """Cllr − Cllr_min of likelihood ratios that were fitted on the other half of the writers.

    Infinite where a half cannot be calibrated.
    """
    names = np.unique(trials.writer)
    ratio = np.zeros(len(trials.distance))
    for half in (names[::2], names[1::2]):
        inside = np.isin(trials.writer, half)
        try:
            fitted = calibrate(trials.take(np.flatnonzero(~inside)), policy)
        except CalibrationError:
            return np.inf
        ratio[inside] = fitted.log10_lr(trials.distance[inside])
    return float(cllr(ratio, trials.label)) - cllr_min(-trials.distance, trials.label)
