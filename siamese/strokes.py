"""How strokes run: a description of the writing itself.

Which way an edge of the ink runs, together with which way it runs a few pixels on: slant,
roundness, the swing of the hand. A forger copies the shape, and this less well. After the
edge-hinge of Bulacu and Schomaker (IEEE TPAMI 29, 2007), as co-occurrences of gradient directions
(Watanabe, Ito and Yokoi, PSIVT 2009), which need no contours. Counted over the whole signature,
and in each of eight cells of it.

Which of it tells a writer from a forger is then found on training writers: :mod:`siamese.telling`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from siamese.edges import DIRECTIONS, Edges

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


def describe(found: Sequence[Edges]) -> Tensor:
    """Co-occurrences of edge directions.

    Parameters
    ----------
    found : the edges of B canvases.

    Returns
    -------
    (B, LENGTH): for each of :data:`PARTS` square roots of shares, of unit length: the Euclidean
    distance of two is the Hellinger distance of the counts, times √2.
    """
    cells = torch.stack([_count(edges) for edges in found])
    return torch.cat([_shares(cells.sum(1)), _shares(cells.flatten(1))], 1)


def _shares(counts: Tensor) -> Tensor:
    return (counts / counts.sum(1, keepdim=True).clamp(min=1e-6)).sqrt_()


def _count(edges: Edges) -> Tensor:
    """Co-occurrences in each cell, (cells, counts)."""
    rows, columns, facing, (height, width) = edges
    # By cells: those of each are then next to each other.
    cell = rows * _CELLS[0] // height * _CELLS[1] + columns * _CELLS[1] // width
    cell, order = torch.sort(cell, stable=True)
    facing = facing.index_select(0, order)
    # Where each edge is in the list; its end stands for all that is none. A step is a step in
    # the flat picture too, whose rim is wide enough.
    wide = width + 2 * _REACH
    at = ((rows + _REACH) * wide + columns + _REACH).index_select(0, order)
    place = at.new_full(((height + 2 * _REACH) * wide,), len(at), dtype=torch.int32)
    place[at] = torch.arange(len(at), dtype=torch.int32, device=at.device)
    steps = torch.tensor([down * wide + right for down, right in _STEPS], device=at.device)
    next_to = place.index_select(0, (at[:, None] + steps).flatten())
    known = F.pad(facing, (0, 0, 0, 1))
    there = known.index_select(0, next_to).view(-1, len(_STEPS) * DIRECTIONS)
    sizes = torch.bincount(cell, minlength=math.prod(_CELLS)).tolist()
    # Of each cell (directions here, steps × directions there).
    cells = zip(facing.split(sizes), there.split(sizes), strict=True)
    tables = [here.T @ beyond for here, beyond in cells]
    a, b = torch.tensor(_SAME_SIDE, device=rows.device).T
    counts = torch.stack(tables).view(-1, DIRECTIONS, len(_STEPS), DIRECTIONS)[:, a, :, b]
    return counts.permute(1, 2, 0).flatten(1)
