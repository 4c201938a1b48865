"""What tells writers from others and from their forgers, and from how far off.

Found on training writers, from descriptions of their signatures: discriminant axes, how much a
hand varies by how it looks, and whom to hold others against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

Floats = npt.NDArray[np.float32]

_KEPT = 300  # principal axes among which those that tell are looked for
_DOUBT = 3.0  # between, where within is 1, at which an axis counts half
_EVENLY = 0.1  # share of their variance in a writer that is added to all of these
_BENT = 0.2  # share of what counts as varying in a writer that is what bending changes
_LOOKS = 60  # principal axes from which a hand's scale is foretold; half as many as writers at most
_RIDGE = 0.02  # what is added to the variance along each


@dataclass(frozen=True)
class Described:
    """Signatures that were described.

    descriptions : (N, L). writers : (N,) whom each is or imitates. genuine : (N,).
    """

    descriptions: Floats
    writers: npt.NDArray[np.str_]
    genuine: npt.NDArray[np.bool_]


def telling_axes(
    told: Described,
    bent: Floats,
    parts: Sequence[int],
    weights: Sequence[float],
    count: int,
) -> tuple[Floats, Floats]:
    """What tells writers from others and from their forgers, and varies little in a writer.

    Fisher's discriminant axes of each part of the descriptions: within is how a writer's genuine
    signatures lie around their mean, and what bending them a little changes, which writers are
    too few to show; between, how forgeries lie around the mean of whom they imitate, and the means
    of writers around each other. The more there is between beside what is within, the more an axis
    counts.

    Parameters
    ----------
    bent : (M, L) what bending some of the genuine ones changed in their descriptions.
    parts : lengths of the parts of a description, L in all. weights : what each counts.
    count : of axes, shared evenly among the parts.

    Returns
    -------
    axes (count, L), and the mean along them (count,). Axes beyond what so few signatures
    tell are zero.
    """
    each = count // len(parts)
    axes = np.zeros((count, told.descriptions.shape[1]), np.float32)
    start = 0
    for place, (length, weight) in enumerate(zip(parts, weights, strict=True)):
        of_part = slice(start, start + length)
        part = told.descriptions[:, of_part].astype(np.float64)
        found = _discriminant(part - part.mean(0), told, bent[:, of_part], each)
        axes[place * each :][: len(found), of_part] = weight * found
        start += length
    return axes, axes @ told.descriptions.mean(0)


def scale_of_hands(sets: Sequence[Described], axes: Floats) -> tuple[Floats, float]:
    """From how a signature looks, how far off a forgery of it is told.

    One hand varies more than another, and what is far for one is near for the other; and on
    coarse pictures all lie nearer. Foretold, by ridge regression on principal axes, is the
    logarithm of the distance half-way (by ratio) between a genuine signature's mean distance to
    its writer's others and to the forgeries.
    Chosen in five folds of training and calibration writers; what it brings is the row
    ``one_scale`` of ``benchmarks/accuracy.py``.

    Parameters
    ----------
    sets : each as one scanner and pen for a writer; signatures are compared within one.
    axes : (K, L) that tell.

    Returns
    -------
    weights (L,), and what to take from a description's product with them: 0 is then usual,
    log 2 twice as far. Zeros where no writer has two genuine signatures and a forgery.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second; only training needs them
    from sklearn.linear_model import Ridge  # noqa: PLC0415

    midway = np.concatenate([_midway(one, axes) for one in sets])
    descriptions = np.concatenate([one.descriptions for one in sets])
    told = np.isfinite(midway)
    hands = np.unique(np.concatenate([one.writers for one in sets])[told])
    kept = min(_LOOKS, len(hands) // 2)
    if kept == 0:
        return np.zeros(descriptions.shape[1], np.float32), 0.0
    looks = PCA(kept, whiten=True, random_state=0).fit(descriptions)
    fit = Ridge(_RIDGE * told.sum()).fit(looks.transform(descriptions[told]), midway[told])
    weights = (fit.coef_ / np.sqrt(looks.explained_variance_)) @ looks.components_
    return weights.astype(np.float32), float(weights @ descriptions[told].mean(0))


def cohort_of(vectors: Floats, told: Described, most: int) -> tuple[Floats, npt.NDArray[np.str_]]:
    """Writers to hold others against: the mean of each one's genuine vectors, of unit length.

    Parameters
    ----------
    vectors : (S, N, K), of unit length, of the same signatures by S scanners and pens, so that a
        coarse picture has coarse ones to be like. told : whose they are.
    most : means; of more writers, so many are taken evenly.

    Returns
    -------
    means (C, K), and whose they are (C,).
    """
    hands = np.unique(told.writers[told.genuine])
    if len(hands) > (each := most // len(vectors)):
        hands = hands[np.linspace(0, len(hands) - 1, each).astype(int)]
    mine = [(told.writers == hand) & told.genuine for hand in hands]
    means = np.array([scan[rows].mean(0) for scan in vectors for rows in mine])
    return means / np.linalg.norm(means, axis=1, keepdims=True), np.tile(hands, len(vectors))


def _midway(told: Described, axes: Floats) -> npt.NDArray[np.float64]:
    """(N,) logarithm of the distance half-way from its writer's others to forgeries, or nan."""
    along = told.descriptions @ axes.T
    midway = np.full(len(along), np.nan)
    for writer in np.unique(told.writers):
        mine = told.writers == writer
        own, forged = along[mine & told.genuine], along[mine & ~told.genuine]
        if len(own) < 2 or len(forged) == 0:
            continue
        to_own = np.linalg.norm(own[:, None] - own, axis=2).sum(1) / (len(own) - 1)
        to_forged = np.linalg.norm(own[:, None] - forged, axis=2).mean(1)
        with np.errstate(divide="ignore"):
            midway[mine & told.genuine] = np.log(to_own * to_forged) / 2
    return midway


def _discriminant(
    centred: npt.NDArray[np.float64], told: Described, bent: Floats, most: int
) -> npt.NDArray[np.float64]:
    """At most so many axes (K, L) of centred descriptions (N, L), those that tell most first.

    In a writer these vary by 1 in all.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second; only training needs it

    if len(centred) < 2 or np.abs(centred).max() < 1e-6:
        return centred[:0]
    kept = min(_KEPT, *centred.shape)
    found = PCA(kept, random_state=0).fit(centred)
    principal = found.components_[found.explained_variance_ > 1e-9].T
    x = centred @ principal
    within, between, means = [], [], []
    for writer in np.unique(told.writers):
        mine = told.writers == writer
        own = x[mine & told.genuine]
        if len(own) < 2:
            continue
        means.append(own.mean(0))
        within.append(own - means[-1])
        between.append(x[mine & ~told.genuine] - means[-1])
    if not means:
        return centred[:0]
    inner = _scatter(np.concatenate(within), sum(len(one) - 1 for one in within))
    forged = np.concatenate(between)
    outer = _scatter(forged, max(len(forged), 1))
    outer += _scatter(np.array(means) - np.mean(means, axis=0), max(len(means) - 1, 1))
    moved = bent.astype(np.float64) @ principal
    by_bending = _scatter(moved, max(len(moved), 1))
    # Along which axes it lies is what counts; how much there is of it, its share says.
    by_bending *= np.trace(inner) / max(np.trace(by_bending), 1e-12)
    inner += _BENT * (by_bending - inner)
    # Writers are few: a tenth more is added to what varies in them, evenly along all axes.
    inner += np.eye(len(inner)) * max(_EVENLY * np.trace(inner) / len(inner), 1e-9)
    values, vectors = scipy.linalg.eigh(outer, inner)
    found = np.flatnonzero(values > 1e-9)[::-1][:most]
    shares = values[found] / (_DOUBT + values[found])
    return np.asarray((principal @ vectors[:, found] * np.sqrt(shares / shares.sum())).T)


def _scatter(rows: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    return rows.T @ rows / count
