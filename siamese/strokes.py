"""How strokes run: a description of the writing itself.

Which way an edge of the ink runs, together with which way it runs a few pixels on: slant,
roundness, the swing of the hand. A forger copies the shape, and this less well. After the
edge-hinge of Bulacu and Schomaker (IEEE TPAMI 29, 2007), as co-occurrences of gradient directions
(Watanabe, Ito and Yokoi, PSIVT 2009), which need no contours. Counted over the whole signature,
and in each of eight cells of it.

Which of it tells a writer from a forger is then found on training writers, and from how far off:
:func:`telling_axes`, :func:`scale_of_hands`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float32]

DIRECTIONS = 12
_STEPS = ((0, 4), (3, 3), (4, 0), (3, -3))  # down and right, pixels
_REACH = 4
_CELLS = (2, 4)  # rows and columns
# Directions that differ by a quarter turn at most. The two sides of a stroke run opposite ways:
# counted together they would tell how thick the pen is.
_SAME_SIDE = [
    (a, b % DIRECTIONS)
    for a in range(DIRECTIONS)
    for b in range(a - DIRECTIONS // 4, a + DIRECTIONS // 4 + 1)
]
_COUNTS = len(_SAME_SIDE) * len(_STEPS)
#: Lengths of the parts of a description: the whole signature, and its cells.
PARTS = (_COUNTS, _COUNTS * math.prod(_CELLS))
#: Length of a description.
LENGTH = sum(PARTS)

_SQUARED = 4  # times, the cosine to a direction: its 16th power
_FAINT = 0.02  # gradients below count nothing
_HALF = 0.05  # gradient that counts half

_KEPT = 300  # principal axes among which those that tell are looked for
_EVENLY = 0.25  # share of their variance in a writer that is added to all of these
_LOOKS = 60  # principal axes from which a hand's scale is foretold; half as many as writers at most
_RIDGE = 0.02  # what is added to the variance along each


@torch.no_grad()
def describe(canvases: Tensor) -> Tensor:
    """Co-occurrences of edge directions; no gradient flows through them.

    Parameters
    ----------
    canvases : (B, 1, H, W) in [0, 1], ink bright.

    Returns
    -------
    (B, LENGTH): for each of :data:`PARTS` square roots of shares, of unit length: the Euclidean
    distance of two is the Hellinger distance of the counts, times √2.
    """
    cells = torch.stack([_count(one) for one in _gradients(canvases.float())])
    return torch.cat([_shares(cells.sum(1)), _shares(cells.flatten(1))], 1)


def telling_axes(
    descriptions: Floats, writers: npt.NDArray[np.str_], genuine: npt.NDArray[np.bool_], count: int
) -> tuple[Floats, Floats]:
    """What tells writers from others and from their forgers, and varies little in a writer.

    Fisher's discriminant axes of each of :data:`PARTS`: within is how a writer's genuine
    signatures lie around their mean; between, how forgeries lie around the mean of whom they
    imitate, and the means of writers around each other.

    Parameters
    ----------
    descriptions : (N, LENGTH). writers : (N,) whom each is or imitates. genuine : (N,).
    count : of axes, shared evenly among the parts.

    Returns
    -------
    axes (count, LENGTH), and the mean along them (count,). Axes beyond what so few signatures
    tell are zero.
    """
    each = count // len(PARTS)
    axes = np.zeros((count, LENGTH), np.float32)
    start = 0
    for place, length in enumerate(PARTS):
        part = descriptions[:, start : start + length].astype(np.float64)
        found = _discriminant(part - part.mean(0), writers, genuine)[:each]
        axes[place * each :][: len(found), start : start + length] = found / math.sqrt(each)
        start += length
    return axes, axes @ descriptions.mean(0)


def scale_of_hands(
    descriptions: Floats,
    along: Floats,
    writers: npt.NDArray[np.str_],
    genuine: npt.NDArray[np.bool_],
) -> tuple[Floats, float]:
    """From how a signature looks, how far off a forgery of it is told.

    One hand varies more than another, and what is far for one is near for the other. Foretold,
    by ridge regression on principal axes, is the logarithm of the distance half-way (by ratio)
    between a genuine signature's mean distance to its writer's others and to the forgeries.
    Chosen in five folds of training and calibration writers; what it brings is the row
    ``one_scale`` of ``benchmarks/accuracy.py``.

    Parameters
    ----------
    descriptions : (N, LENGTH). along : (N, K) the same along the axes that tell. writers : (N,)
    whom each is or imitates. genuine : (N,).

    Returns
    -------
    weights (LENGTH,), and what to take from a description's product with them: 0 is then usual,
    log 2 twice as far. Zeros where no writer has two genuine signatures and a forgery.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second; only training needs them
    from sklearn.linear_model import Ridge  # noqa: PLC0415

    midway = np.full(len(along), np.nan)
    for writer in np.unique(writers):
        mine = writers == writer
        own, forged = along[mine & genuine], along[mine & ~genuine]
        if len(own) < 2 or len(forged) == 0:
            continue
        to_own = np.linalg.norm(own[:, None] - own, axis=2).sum(1) / (len(own) - 1)
        to_forged = np.linalg.norm(own[:, None] - forged, axis=2).mean(1)
        with np.errstate(divide="ignore"):
            midway[mine & genuine] = np.log(to_own * to_forged) / 2
    told = np.isfinite(midway)
    kept = min(_LOOKS, len(np.unique(writers[told])) // 2)
    if kept == 0:
        return np.zeros(LENGTH, np.float32), 0.0
    looks = PCA(kept, whiten=True, random_state=0).fit(descriptions)
    fit = Ridge(_RIDGE * told.sum()).fit(looks.transform(descriptions[told]), midway[told])
    weights = (fit.coef_ / np.sqrt(looks.explained_variance_)) @ looks.components_
    return weights.astype(np.float32), float(weights @ descriptions[told].mean(0))


def _discriminant(
    centred: npt.NDArray[np.float64],
    writers: npt.NDArray[np.str_],
    genuine: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Axes (K, L) of centred descriptions (N, L), those that tell most first."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second; only training needs it

    if len(centred) < 2 or np.abs(centred).max() < 1e-6:
        return centred[:0]
    kept = min(_KEPT, *centred.shape)
    found = PCA(kept, random_state=0).fit(centred)
    principal = found.components_[found.explained_variance_ > 1e-9].T
    x = centred @ principal
    within, between, means = [], [], []
    for writer in np.unique(writers):
        own = x[(writers == writer) & genuine]
        if len(own) < 2:
            continue
        means.append(own.mean(0))
        within.append(own - means[-1])
        between.append(x[(writers == writer) & ~genuine] - means[-1])
    if not means:
        return centred[:0]
    inner = _scatter(np.concatenate(within), sum(len(one) - 1 for one in within))
    forged = np.concatenate(between)
    outer = _scatter(forged, max(len(forged), 1))
    outer += _scatter(np.array(means) - np.mean(means, axis=0), max(len(means) - 1, 1))
    # Writers are few: a quarter more is added to what varies in them, evenly along all axes.
    inner += np.eye(len(inner)) * max(_EVENLY * np.trace(inner) / len(inner), 1e-9)
    values, vectors = scipy.linalg.eigh(outer, inner)
    return np.asarray((principal @ vectors[:, ::-1][:, values[::-1] > 1e-9]).T)


def _scatter(rows: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    return rows.T @ rows / count


def _shares(counts: Tensor) -> Tensor:
    return (counts / counts.sum(1, keepdim=True).clamp(min=1e-6)).sqrt_()


def _gradients(canvases: Tensor) -> Tensor:
    """Down and right, of the canvases a little smoothed: (B, 2, H, W)."""
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    down = F.conv_transpose2d(
        torch.outer(smooth, smooth)[None, None], torch.outer(slope, smooth)[None, None]
    )
    kernels = torch.cat([down, down.transpose(2, 3)]).to(canvases.device)
    return F.conv2d(canvases.contiguous(), kernels, padding=2)


def _count(gradient: Tensor) -> Tensor:
    """Co-occurrences in each cell, (cells, counts), from gradients (2, H, W).

    Most of a canvas is empty: what is not an edge is left out at once.
    """
    height, width = gradient.shape[1:]
    squared = gradient.square().sum(0)
    rows, columns = torch.nonzero(squared > _FAINT**2, as_tuple=True)
    # By cells: those of each are then next to each other.
    cell = rows * _CELLS[0] // height * _CELLS[1] + columns * _CELLS[1] // width
    cell, order = torch.sort(cell, stable=True)
    rows, columns = rows[order], columns[order]
    strength = squared[rows, columns].sqrt_()
    turn = torch.arange(DIRECTIONS, device=gradient.device) * (2 * math.pi / DIRECTIONS)
    facing = gradient[:, rows, columns].T @ torch.stack([turn.sin(), turn.cos()])
    edges = facing.relu_().div_(strength[:, None])
    for _ in range(_SQUARED):
        edges.square_()
    edges *= (strength / (strength + _HALF))[:, None]
    # Where each edge is in the list; its end stands for all that is none.
    place = torch.full((height + 2 * _REACH, width + 2 * _REACH), len(edges), device=rows.device)
    place[rows + _REACH, columns + _REACH] = torch.arange(len(edges), device=rows.device)
    known = F.pad(edges, (0, 0, 0, 1))
    steps = torch.tensor(_STEPS, device=rows.device) + _REACH
    next_to = place[rows[:, None] + steps[:, 0], columns[:, None] + steps[:, 1]]
    there = known.index_select(0, next_to.flatten()).view(-1, len(_STEPS) * DIRECTIONS)
    sizes = torch.bincount(cell, minlength=math.prod(_CELLS)).tolist()
    # Of each cell (directions here, steps × directions there).
    cells = zip(edges.split(sizes), there.split(sizes), strict=True)
    tables = [here.T @ beyond for here, beyond in cells]
    a, b = torch.tensor(_SAME_SIDE, device=rows.device).T
    counts = torch.stack(tables).view(-1, DIRECTIONS, len(_STEPS), DIRECTIONS)[:, a, :, b]
    return counts.permute(1, 2, 0).flatten(1)
