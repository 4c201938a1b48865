"""Errors over all pairs of some signatures: what model selection looks at."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from siamese.loss import pairwise_distance
from siamese.metrics import eer


def equal_errors(
    vectors: Tensor, writers: npt.NDArray[np.str_], genuine: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """EER_skilled and EER_random over all pairs; nan where there are none.

    Parameters
    ----------
    vectors : (N, E). writers : (N,) whom each is or imitates. genuine : (N,).
    """
    similarity = -pairwise_distance(vectors, vectors).double().numpy()
    same = writers[:, None] == writers[None, :]
    reference, questioned = genuine[:, None], genuine[None, :]
    upper = np.triu(np.ones_like(same), 1)
    matching = similarity[same & reference & questioned & upper]
    skilled = similarity[same & reference & ~questioned]
    random = similarity[~same & reference & questioned & upper]
    return _eer_of(matching, skilled), _eer_of(matching, random)


def _eer_of(genuine: npt.NDArray[np.float64], forged: npt.NDArray[np.float64]) -> float:
    if len(genuine) == 0 or len(forged) == 0:
        return math.nan
    labels = np.concatenate([np.ones(len(genuine)), np.zeros(len(forged))]).astype(np.int64)
    return float(eer(np.concatenate([genuine, forged]), labels))
