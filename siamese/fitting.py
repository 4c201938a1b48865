"""What is found of strokes before training: no step is needed for it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import numpy.typing as npt
import torch

from siamese.edges import find_edges
from siamese.embedding import in_batches
from siamese.model import SignatureNet, to_input
from siamese.words import Words, learn_words, pieces

_SAMPLE = 8000  # signatures that axes are found from
_READ = 600  # signatures that words are found from
_PIECES = 100  # of each


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
    # On the CPU, on all cores, wherever it is trained.
    told = in_batches(deepcopy(network).cpu().describe, canvases[rows], torch.device("cpu"))
    network.fit_strokes(told, writers[rows], genuine[rows])


def _find_words(canvases: npt.NDArray[np.uint8], seed: int) -> Words:
    """Words of pieces drawn from some signatures."""
    rng = np.random.default_rng((seed, 4))
    drawn = []
    for canvas in canvases:
        found = pieces(find_edges(to_input(torch.from_numpy(canvas[None])))[0]).numpy()
        drawn.append(found[rng.permutation(len(found))[:_PIECES]])
    return learn_words(np.concatenate(drawn), seed)
