"""Distances where all hands lie near each other, stretched.

In another script, by other pens or from another scanner all distances can be shorter than where
the thresholds come from, and most forgeries then pass. How near signatures of different writers
lie tells it, and takes no labels: references are enough. What normalising a score by scores of a
cohort of other people does for voices (T-norm, Auckenthaler et al., Digital Signal Processing 10,
2000), done for all scores of a source at once.

Distances are stretched alone, never shortened: hands that lie farther apart than usual say that
they are told apart easily, not that they are forged badly. Between the sources of its calibration
a verifier so stretches none. Share and quantile were chosen on the axes of strokes found from
training writers of one source, with training and calibration writers of the other; what it
brings is told in ``docs/accuracy.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Names = npt.NDArray[np.str_]

#: Fewest writers that tell how near hands lie.
FEWEST = 8
_QUANTILE = 0.1  # the nearest say more about who may be taken for whom than those in the middle
_SHARE = 0.7  # of the logarithm of the ratio
_LEAST = 1.05  # less is what as few writers as there are in a calibration differ by anyway
_MOST = 4 / 3  # a folder with one writer under several names cannot stretch all out of reach
_LOOKED_AT = 1000  # signatures


def near_hands(vectors: Floats, writers: Names) -> float:
    """The distance within which one in ten pairs of signatures by different writers lie.

    Parameters
    ----------
    vectors : (N, E), of unit length, of genuine signatures. writers : (N,).

    Returns
    -------
    It, in [0, 2]; 0 for fewer than :data:`FEWEST` writers.
    """
    rows = np.linspace(0, len(writers) - 1, min(len(writers), _LOOKED_AT)).astype(np.intp)
    some, whose = vectors[rows], np.unique(writers[rows], return_inverse=True)[1]
    if len(np.unique(whose)) < FEWEST:
        return 0.0
    like = (some @ some.T)[whose[:, None] < whose]
    return float(np.sqrt(2 - 2 * min(np.quantile(like, 1 - _QUANTILE), 1.0)))


def nearest_usual(of_sources: Iterable[float]) -> float:
    """Of :func:`near_hands` of each source that a verifier is calibrated on, the least known."""
    return min((near for near in of_sources if near > 0), default=0.0)


def near_by_source(
    vectors: Floats, writers: Names, genuine: npt.NDArray[np.bool_], sources: Names
) -> dict[str, float]:
    """:func:`near_hands` of the genuine signatures of each source.

    Parameters
    ----------
    writers : (N,) whom each is or imitates. genuine, sources : (N,).
    """
    found = {}
    for source in np.unique(sources):
        mine = genuine & (sources == source)
        found[str(source)] = near_hands(vectors[mine], writers[mine])
    return found


def stretch(here: float, usual: float) -> float:
    """What to multiply distances by: 1, or clearly more.

    Parameters
    ----------
    here : :func:`near_hands` where it is decided. usual : as :func:`nearest_usual`. Where either
        is 0, not known, nothing is stretched.

    >>> stretch(0.6, 0.5), stretch(0.48, 0.5), stretch(0.4, 0.5), stretch(0.01, 0.5)
    (1.0, 1.0, 1.169, 1.333)
    """
    if min(here, usual) <= 0 or (by := (usual / here) ** _SHARE) < _LEAST:
        return 1.0
    # Rounded: the last bits of a sum of products differ from one machine to the next.
    return round(min(by, _MOST), 3)
