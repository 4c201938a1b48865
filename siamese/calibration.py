"""From a distance to a likelihood ratio, and from a policy to thresholds.

Everything here is fitted on calibration writers only and then frozen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from siamese.config import PolicySettings
from siamese.errors import RunError
from siamese.metrics import det_curve
from siamese.trials import Trials

Floats = npt.NDArray[np.float64]
Decision = Literal["accept", "review", "reject", "unusable"]

_LN10 = float(np.log(10))
_NOTHING, _EVERYTHING = -1.0, 2.0  # distances at which no signature, and every one, is accepted
_MANY = 100  # questioned signatures whose outermost can be relied on


class CalibrationError(RunError):
    """Calibration trials that nothing can be fitted on; the message says what is missing."""


@dataclass(frozen=True)
class Calibration:
    """Fitted on trials with ``n_references`` references.

    ``log10_lr = clip(intercept − slope · distance, lowest, highest)``; the bounds are what the
    number of calibration signatures can support. ``threshold`` is the distance of equal
    FAR_skilled and FRR. ``accept_at`` and ``reject_at`` are the policy's distances: accept at
    or below the first, reject above the second, review between. ``widest_spread`` is the spread
    that one in a hundred sets of references of the calibration writers exceeds: of few writers
    about the widest of all, and more of other writers' exceed it.
    """

    n_references: int
    slope: float
    intercept: float
    lowest: float
    highest: float
    threshold: float
    accept_at: float
    reject_at: float
    widest_spread: float

    def log10_lr(self, distance: Floats) -> Floats:
        """How many times likelier the distance is between genuine pairs than forgeries, log10."""
        return np.clip(self.intercept - self.slope * distance, self.lowest, self.highest)

    def decide(self, distance: Floats) -> npt.NDArray[np.str_]:
        """accept, review or reject for each distance."""
        return np.where(
            distance <= self.accept_at,
            "accept",
            np.where(distance > self.reject_at, "reject", "review"),
        )

    def disagree(self, spread: float) -> bool:
        """Whether references of this spread are hardly one writer's."""
        return self.n_references > 1 and spread > self.widest_spread

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def p_genuine(log10_lr: Floats, prior: float) -> Floats:
    """Posterior probability that the questioned signature is genuine, in (0, 1).

    >>> p_genuine(np.array([0.0]), 0.5).tolist()
    [0.5]
    """
    log_odds = np.asarray(log10_lr) * _LN10 + np.log(prior / (1 - prior))
    return 1.0 / (1.0 + np.exp(-log_odds))


def calibrate(trials: Trials, policy: PolicySettings) -> Calibration:
    """Fit the likelihood ratio and the policy's thresholds.

    Logistic regression on the distance (Brümmer and du Preez 2006), genuine trials weighing
    as much as forgeries, skilled as much as random, and in each of these each writer as much as
    another: four times as many signatures are sixteen times as many pairs.

    Raises
    ------
    CalibrationError : a kind is missing, or distance does not tell genuine from forged.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second; not to decide

    counts = {kind: int((trials.kind == kind).sum()) for kind in np.unique(trials.kind)}
    if not counts.get("genuine") or not counts.get("skilled_forgery"):
        raise CalibrationError(
            "Calibration needs genuine pairs and skilled forgeries among the calibration "
            f"writers; there are {counts}."
        )
    fit = LogisticRegression(C=1e6, max_iter=1000).fit(
        trials.distance[:, None],
        trials.label,
        sample_weight=_weights(trials) * len(trials.kind) / 2,
    )
    slope = -float(fit.coef_[0, 0]) / _LN10
    if slope <= 0:
        raise CalibrationError(
            "On the calibration writers genuine pairs are no closer than forgeries: "
            "the network has learnt nothing that can be calibrated. Train longer, or on more data."
        )
    accept_at, reject_at, threshold = policy_thresholds(trials, policy)
    signatures = {
        label: len(np.unique(trials.questioned[trials.label == label])) for label in (0, 1)
    }
    return Calibration(
        trials.n_references,
        slope,
        float(fit.intercept_[0]) / _LN10,
        lowest=-float(np.log10(signatures[1] + 1)),
        highest=float(np.log10(signatures[0] + 1)),
        threshold=threshold,
        accept_at=accept_at,
        reject_at=reject_at,
        widest_spread=float(np.quantile(trials.spread, 0.99)),
    )


def _weights(trials: Trials) -> Floats:
    """(N,) of each trial: genuine ones are 1 together, and so are forgeries."""
    table = trials.to_frame()
    pairs = table.groupby(["kind", "writer"])["kind"].transform("size")
    writers = table.groupby("kind")["writer"].transform("nunique")
    kinds = np.where(trials.label == 1, 1, len(set(trials.kind) - {"genuine"}))
    return np.asarray(1 / (pairs * writers * kinds), np.float64)


def policy_thresholds(trials: Trials, policy: PolicySettings) -> tuple[float, float, float]:
    """Distances for accept, for reject, and of equal error, from genuine and skilled trials.

    Accept at most at the largest distance that keeps FAR_skilled within the policy, reject
    above the smallest that keeps FRR within it, each writer weighing as much as another: on the
    next questioned signature, not on these, so that one error more is counted than was seen
    (Vovk, Gammerman and Shafer 2005, §2.2), among as many signatures as weights so uneven are
    worth: its pairs with several references are one signature's. With few signatures the
    outermost of them say little, and the stricter of this and the bound for a normal
    distribution holds. Signatures count as if they were independent, which those of a writer
    are not: of few writers a limit is missed on others, by points. Where the two cross, every
    distance between them would do; both are then set halfway and nothing is left for review.
    """
    skilled = trials.of("genuine", "skilled_forgery")
    det = det_curve(-skilled.distance, skilled.label, _weights(skilled))
    distance = -det.threshold
    distance[0] = _NOTHING
    genuine, forged = skilled.of("genuine"), skilled.of("skilled_forgery")
    kept = np.flatnonzero(_on_the_next(det.far, forged) <= policy.max_far_skilled)
    accept_at = float(distance[kept[-1]]) if len(kept) else _NOTHING
    kept = np.flatnonzero(_on_the_next(det.frr, genuine) <= policy.max_frr)
    reject_at = float(distance[kept[0]]) if len(kept) else _EVERYTHING
    accept_at = min(accept_at, -_next_above(forged, policy.max_far_skilled, -1))
    reject_at = max(reject_at, _next_above(genuine, policy.max_frr))
    equal = int(np.argmax(det.far >= det.frr))
    threshold = float((distance[max(equal - 1, 1)] + distance[equal]) / 2)
    if accept_at > reject_at:
        accept_at = reject_at = (accept_at + reject_at) / 2
    return accept_at, reject_at, threshold


def _on_the_next(shares: Floats, of: Trials) -> Floats:
    """Shares of error when one more is counted.

    With the effective number of questioned signatures (Kish 1965).

    Parameters
    ----------
    shares : (...) of errors. of : the trials, of one kind, that they are shares of.
    """
    _, signature = np.unique(of.questioned, return_inverse=True)
    weights = np.bincount(signature, _weights(of))
    effective = weights.sum() ** 2 / (weights**2).sum()
    return np.asarray((shares * effective + 1) / (effective + 1))


def _next_above(trials: Trials, share: float, sign: int = 1) -> float:
    """What the next of some normal distances is above with that probability, times a sign.

    The prediction interval of Student's t (Hahn and Meeker 1991, §4.7), of as many as questioned
    signatures, each writer weighing as much as another; -inf with many of them.
    """
    n, values = len(np.unique(trials.questioned)), sign * trials.distance
    if not 2 <= n < _MANY:
        return -np.inf
    weights = _weights(trials)
    mean = float(np.average(values, weights=weights))
    spread = float(np.average((values - mean) ** 2, weights=weights) * n / (n - 1)) ** 0.5
    return mean + float(stdtrit(n - 1, 1 - share)) * spread * (1 + 1 / n) ** 0.5
