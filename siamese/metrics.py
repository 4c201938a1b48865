"""Error rates of verification.

Scores are similarities: higher means more likely genuine. Labels are 1 for genuine pairs
and 0 for forgeries. A questioned signature is accepted when ``score >= threshold``.

FAR is the share of forgeries accepted, FRR the share of genuine signatures refused, of those that
could be compared (ISO/IEC 19795-1 calls that FMR and FNMR, and counts refused pictures in FAR and
FRR).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Det:
    """Detection error trade-off: FAR and FRR at each threshold, thresholds descending.

    ``far`` rises from 0 to 1, ``frr`` falls from 1 to 0. Leading weights shape, if any, is
    kept: arrays are ``(..., T)``.
    """

    threshold: Floats
    far: Floats
    frr: Floats


def det_curve(scores: Floats, labels: Ints, weights: Floats | None = None) -> Det:
    """FAR and FRR at every distinct score.

    Parameters
    ----------
    scores : (N,) finite similarities.
    labels : (N,) 1 genuine, 0 forgery; both must occur.
    weights : (..., N) ≥ 0, how often each trial counts; none: once.

    Raises
    ------
    ValueError : when shapes differ, a score is not finite, or one class is missing.

    Examples
    --------
    >>> det_curve(np.array([0.9, 0.4, 0.6]), np.array([1, 1, 0])).far.tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    scores, labels = _checked(scores, labels)
    order = np.argsort(-scores, kind="stable")
    ranked, genuine = scores[order], labels[order] == 1
    last_of_tie = np.append(np.diff(ranked) != 0, True)
    counted = np.ones(len(scores)) if weights is None else np.asarray(weights)[..., order]
    with np.errstate(invalid="ignore", divide="ignore"):
        accepted_genuine = np.cumsum(counted * genuine, axis=-1)
        accepted_forged = np.cumsum(counted * ~genuine, axis=-1)
        tar = accepted_genuine / accepted_genuine[..., -1:]
        far = accepted_forged / accepted_forged[..., -1:]
    start = np.zeros((*far.shape[:-1], 1))
    return Det(
        np.concatenate([[np.inf], ranked[last_of_tie]]),
        np.concatenate([start, far[..., last_of_tie]], axis=-1),
        1.0 - np.concatenate([start, tar[..., last_of_tie]], axis=-1),
    )


def eer(scores: Floats, labels: Ints, weights: Floats | None = None) -> Floats:
    """Equal error rate, in [0, 1]: where FAR and FRR cross, between thresholds by a line.

    Parameters as :func:`det_curve`. Returns a scalar, or one value a row of ``weights``; nan where
    a row counts none of a kind.

    Examples
    --------
    >>> float(eer(np.array([0.9, 0.8, 0.2, 0.1]), np.array([1, 1, 0, 0])))
    0.0
    >>> float(eer(np.array([0.9, 0.3, 0.6, 0.1]), np.array([1, 1, 0, 0])))
    0.5
    """
    det = det_curve(scores, labels, weights)
    gap = det.far - det.frr  # rises from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(gap, index, -1) for index in (before, after))
    share = np.where(high > low, -low / np.where(high > low, high - low, 1), 0.0)
    far_low, far_high = (np.take_along_axis(det.far, index, -1) for index in (before, after))
    crossing = (far_low + share * (far_high - far_low))[..., 0]
    return np.asarray(np.where(np.isnan(gap[..., -1]), np.nan, crossing))


def false_accept_rate(
    scores: Floats, labels: Ints, threshold: float, weights: Floats | None = None
) -> Floats:
    """Share of forgeries with ``score >= threshold``, in [0, 1]; nan without forgeries."""
    return _share(scores >= threshold, labels == 0, weights)


def false_reject_rate(
    scores: Floats, labels: Ints, threshold: float, weights: Floats | None = None
) -> Floats:
    """Share of genuine pairs with ``score < threshold``, in [0, 1]; nan without genuine."""
    return _share(scores < threshold, labels == 1, weights)


def auc(scores: Floats, labels: Ints, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve, in [0, 1]: P(genuine scores above forgery), ties half.

    Parameters as :func:`det_curve`. Returns a scalar, or one value a row of ``weights``.
    """
    det = det_curve(scores, labels, weights)
    return np.asarray(np.trapezoid(1.0 - det.frr, det.far, axis=-1))


def cllr(log10_lr: Floats, labels: Ints, weights: Floats | None = None) -> Floats:
    """Log-likelihood-ratio cost, ≥ 0: 0 is perfect, 1 is what saying nothing costs.

    ``½ mean_genuine log2(1 + 1/LR) + ½ mean_forged log2(1 + LR)``
    (Brümmer and du Preez, Computer Speech & Language 20, 2006).

    Examples
    --------
    >>> float(cllr(np.zeros(4), np.array([1, 1, 0, 0])))
    1.0
    """
    values, labels = _checked(log10_lr, labels)
    nats = values * np.log(10)
    counted = np.ones(len(values)) if weights is None else np.asarray(weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        costs = [
            (counted * side * np.logaddexp(0, sign * nats)).sum(-1) / (counted * side).sum(-1)
            for side, sign in ((labels == 1, -1), (labels == 0, 1))
        ]
    return np.asarray((costs[0] + costs[1]) / (2 * np.log(2)))


def cllr_min(scores: Floats, labels: Ints) -> float:
    """Cllr after the best monotone calibration of these same scores: discrimination alone.

    Pool-adjacent-violators on the scores, kept off 0 and 1 so that no ratio is infinite;
    never above 1.
    """
    scores, labels = _checked(scores, labels)
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - a second, of use here alone

    n_genuine, n_forged = int((labels == 1).sum()), int((labels == 0).sum())
    weight = np.where(labels == 1, 0.5 / n_genuine, 0.5 / n_forged)
    posterior = np.asarray(
        IsotonicRegression(y_min=0, y_max=1)
        .fit(scores, labels.astype(float), sample_weight=weight)
        .predict(scores)
    )
    floor = 1.0 / (len(labels) + 2)
    posterior = np.clip(posterior, floor, 1 - floor)
    return min(1.0, float(cllr(np.log10(posterior / (1 - posterior)), labels)))


def _share(hit: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_], weights: Floats | None) -> Floats:
    counted = np.ones(len(hit)) if weights is None else weights
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((counted * (hit & of)).sum(-1) / (counted * of).sum(-1))


def _checked(scores: Floats, labels: Ints) -> tuple[Floats, Ints]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be one-dimensional")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if not (set(np.unique(labels)) == {0, 1}):
        raise ValueError("labels must be 0 and 1, and both must occur")
    return scores, labels
