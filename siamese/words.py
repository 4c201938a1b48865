"""Small pieces of strokes, and which of them a hand makes its own way.

Around every piece of ink, which ways the edges run in 4 × 4 cells (after SIFT, Lowe, IJCV 60,
2004, with square roots: Arandjelović and Zisserman, CVPR 2012): in small cells, and in cells
twice as large. Such pieces of each size fall into some kinds, "visual words", found once on
training signatures; a signature is described by how its pieces differ from the words that they
are nearest to (VLAD: Jégou, Douze, Schmid and Pérez, CVPR 2010; for hands: Christlein, Bernecker
and Angelopoulou, ICDAR 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from siamese.edges import DIRECTIONS, Edges

_BLOCKS = (6, 12)  # px, by size; pieces start at each block
_GRID = 4  # cells of a piece, down and across; a cell is of 2 × 2 blocks
_LEAST = 1.0  # edge, about as many pixels, in the cell at a piece's centre
_NOTHING = 1e-30
_PIECE = _GRID * _GRID * DIRECTIONS
_KEPT = 32  # principal axes of pieces
_WORDS = 128
_FEWEST = 8  # pieces a word
#: Length of a description.
LENGTH = len(_BLOCKS) * _WORDS * _KEPT


class Words(NamedTuple):
    """By size: basis (S, KEPT, PIECE), its product with the mean piece (S, KEPT), and words.

    centres : words (S, WORDS, KEPT).
    """

    basis: Tensor
    mean: Tensor
    centres: Tensor


def no_words() -> Words:
    """Before any are found: descriptions are zeros."""
    sizes = len(_BLOCKS)
    return Words(
        torch.zeros(sizes, _KEPT, _PIECE),
        torch.zeros(sizes, _KEPT),
        torch.zeros(sizes, _WORDS, _KEPT),
    )


def pieces(edges: Edges) -> list[Tensor]:
    """By size, square roots of the shares of directions in each cell around each place.

    Each is (N, PIECE), N as many as there are places with ink.
    """
    return [_pieces(edges, side) for side in _BLOCKS]


def _pieces(edges: Edges, side: int) -> Tensor:
    height, width = (-(-length // side) for length in edges.size)
    block = edges.rows // side * width + edges.columns // side
    # Added up a direction at a time, which is faster.
    blocks = edges.facing.new_zeros(DIRECTIONS, height * width)
    blocks.index_add_(1, block, edges.facing.T.contiguous())
    # Cells of 2 × 2 blocks at each block, and empty ones for as far as a piece reaches.
    cells = F.pad(blocks.T.reshape(height, width, DIRECTIONS), (0, 0, *(_GRID,) * 4))
    cells = cells[1:] + cells[:-1]
    cells = cells[:, 1:] + cells[:, :-1]
    across, sums = cells.shape[1], cells.sum(2)
    row, column = torch.nonzero(sums[_GRID:-_GRID, _GRID:-_GRID] > _LEAST, as_tuple=True)
    # A cell is two blocks from the next; the one at the place is in the middle of the piece.
    reach = torch.arange(_GRID, device=row.device) * 2 + 1
    first = row * across + column
    places = (first[:, None] + (reach[:, None] * across + reach).flatten()).flatten()
    # Torch's root of nothing takes several times as long as that of next to nothing.
    roots = cells.clamp_(min=_NOTHING).sqrt_()
    roots = roots.view(-1, DIRECTIONS).index_select(0, places).view(-1, _PIECE)
    ink = sums.flatten().index_select(0, places).view(-1, _GRID**2).sum(1, keepdim=True)
    return roots.mul_(ink.rsqrt_())


def learn_words(some: Sequence[npt.NDArray[np.float32]], seed: int) -> Words:
    """The words that pieces of each size, (M, PIECE), fall into; fewer where there are few."""
    words = no_words()
    for one, *of_size in zip(some, *words, strict=True):
        _learn(one, seed, *of_size)
    return words


def _learn(
    some: npt.NDArray[np.float32], seed: int, basis: Tensor, mean: Tensor, centres: Tensor
) -> None:
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415 - a second; only training needs
    from sklearn.decomposition import PCA  # noqa: PLC0415

    count = min(_WORDS, len(some) // _FEWEST)
    if count == 0:
        return
    looks = PCA(min(_KEPT, *some.shape), random_state=seed).fit(some)
    short = looks.transform(some).astype(np.float32)
    kinds = MiniBatchKMeans(count, n_init=3, batch_size=4096, random_state=seed).fit(short)
    kept = short.shape[1]
    basis[:kept] = torch.from_numpy(looks.components_)
    mean[:kept] = torch.from_numpy(looks.components_ @ looks.mean_)
    centres[:] = 1e3  # what is not found is nearest to nothing
    centres[:count] = 0
    centres[:count, :kept] = torch.from_numpy(kinds.cluster_centers_)


def describe(found: Sequence[Edges], words: Words) -> Tensor:
    """Differences from words, summed by word, (B, LENGTH): by size of unit length, or zeros."""
    return torch.stack([_describe(edges, words) for edges in found])


def _describe(edges: Edges, words: Words) -> Tensor:
    sizes = zip(pieces(edges), *words, strict=True)
    return torch.cat([_differences(*of_size) for of_size in sizes])


def _differences(some: Tensor, basis: Tensor, mean: Tensor, centres: Tensor) -> Tensor:
    short = some @ basis.T - mean
    nearest = (short @ centres.T - centres.square().sum(1) / 2).argmax(1)
    sums = short.new_zeros(_WORDS, _KEPT).index_add_(0, nearest, short)
    sums -= torch.bincount(nearest, minlength=_WORDS)[:, None] * centres
    # Square roots, so that a piece that comes often does not outweigh all others.
    return F.normalize((sums.sign() * sums.abs().sqrt()).flatten(), dim=0)
