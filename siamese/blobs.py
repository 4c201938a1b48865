"""Connected blobs of ink, by the runs of ink in each row.

What :func:`scipy.ndimage.label` finds, without scipy, whose import is nearly half of what a
decoding process takes to start.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.intp]


class Runs(NamedTuple):
    """Runs of ink of a picture, row by row.

    row, start, end : (N,), the end exclusive. blob : (N,) the same number for runs that touch,
    at corners too, by way of others as well.
    """

    row: Places
    start: Places
    end: Places
    blob: Places

    def places(self, some: npt.NDArray[np.bool_]) -> tuple[Places, Places]:
        """Rows and columns of the pixels of some runs (N,)."""
        row, start, length = self.row[some], self.start[some], (self.end - self.start)[some]
        before = np.cumsum(length) - length
        return np.repeat(row, length), np.arange(length.sum()) + np.repeat(start - before, length)


def find_blobs(ink: npt.NDArray[np.bool_]) -> Runs:
    """The runs of a picture (H, W), and which blob each belongs to."""
    height, width = ink.shape
    stride = width + 2
    rimmed = np.zeros((height, stride), bool)
    rimmed[:, 1:-1] = ink
    row, column = np.nonzero(rimmed[:, 1:] != rimmed[:, :-1])
    row, start, end = row[::2], column[::2], column[1::2]
    # On a line of all rows: runs of the next row that end where one starts, or after, and start
    # where it ends, or before.
    begins, ends = row * stride + start, row * stride + end
    first = np.searchsorted(ends, begins + stride, "left")
    count = np.searchsorted(begins, ends + stride, "right") - first
    above = np.repeat(np.arange(len(row)), count)
    below = np.arange(len(above)) + np.repeat(first - (np.cumsum(count) - count), count)
    return Runs(row, start, end, _joined(len(row), above, below))


def _joined(count: int, one: Places, other: Places) -> Places:
    """The least number that each of so many is joined with, by pairs (M,) and (M,)."""
    least = np.arange(count)
    while True:
        a, b = least[one], least[other]
        apart = a != b
        if not apart.any():
            return least
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(least, np.maximum(a, b), np.minimum(a, b))
        while ((shorter := least[least]) != least).any():
            least = shorter
