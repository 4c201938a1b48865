"""What is found of strokes before training: no step is needed for it."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from siamese.augment import RESCANS, bend
from siamese.edges import find_edges
from siamese.embedding import in_batches
from siamese.model import Change, SignatureNet, changed, to_input
from siamese.telling import Described
from siamese.words import Words, learn_words, pieces

_SAMPLE = 8000  # signatures that axes are found from
_READ = 600  # signatures that words are found from
_PIECES = 100  # of each, and of each size


def fit_strokes(
    network: SignatureNet,
    canvases: npt.NDArray[np.uint8],
    writers: npt.NDArray[np.str_],
    genuine: npt.NDArray[np.bool_],
    seed: int,
) -> None:
    """Find words, axes and the scale of hands, and set them in a network.

    Parameters
    ----------
    canvases : (N, H, W) of training signatures; no more are used than are enough.
    writers : (N,) whom each is or imitates. genuine : (N,).
    """
    if len(network.stroke_axes) == 0:
        return  # none of it would reach a vector
    order = np.random.default_rng((seed, 3)).permutation(len(canvases))
    rows = np.sort(order[:_SAMPLE])
    network.know_words(_find_words(canvases[order[:_READ]], seed))
    describe = deepcopy(network).cpu().describe
    some = canvases[rows]
    told = Described(_on_the_cpu(describe, some), writers[rows], genuine[rows])
    bending = partial(bend, generator=torch.Generator().manual_seed(seed))
    bent = _on_the_cpu(describe, changed(some[told.genuine], bending))
    moved = bent - told.descriptions[told.genuine]
    network.fit_strokes(told, moved, _rescanned(describe, some, told, seed))


def _rescanned(
    describe: Change, canvases: npt.NDArray[np.uint8], told: Described, seed: int
) -> Described:
    """The same signatures, all of a writer as one other scanner or pen would have them."""
    names, writer = np.unique(told.writers, return_inverse=True)
    scan = np.random.default_rng((seed, 5)).choice(list(RESCANS), len(names))[writer]
    descriptions = np.empty_like(told.descriptions)
    for name in np.unique(scan):
        mine = scan == name
        descriptions[mine] = _on_the_cpu(describe, changed(canvases[mine], RESCANS[name]))
    return Described(descriptions, told.writers, told.genuine)


def _on_the_cpu(describe: Change, canvases: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """On all cores, wherever the network is trained."""
    return in_batches(describe, canvases, torch.device("cpu"))


def _find_words(canvases: npt.NDArray[np.uint8], seed: int) -> Words:
    """Words of pieces drawn from some signatures."""
    rng = np.random.default_rng((seed, 4))
    drawn = []
    for canvas in canvases:
        found = pieces(find_edges(to_input(torch.from_numpy(canvas[None])))[0])
        drawn.append([some[rng.permutation(len(some))[:_PIECES]].numpy() for some in found])
    return learn_words([np.concatenate(some) for some in zip(*drawn, strict=True)], seed)
