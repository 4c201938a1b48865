"""Contrastive loss over all pairs of a batch, its three terms apart.

Label convention, the only one in the code base: 1 = genuine pair (same writer, both
genuine), 0 = forgery (skilled or random). Genuine pairs are pulled together, the rest
pushed apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContrastiveTerms:
    """The loss and its parts, each a scalar tensor ≥ 0."""

    total: Tensor
    genuine: Tensor
    skilled: Tensor
    random: Tensor


def pair_loss(
    distance: Tensor, label: Tensor, margin_genuine: float = 0.0, margin_forgery: float = 1.0
) -> Tensor:
    """Double-margin contrastive loss of each pair.

    ``label · max(0, d − margin_genuine)² + (1 − label) · max(0, margin_forgery − d)²``
    (Hadsell, Chopra, LeCun, CVPR 2006, eq. 4 without its halves; the lower margin after
    Lin et al. 2015).

    Parameters
    ----------
    distance : (N,), ≥ 0.
    label : (N,), 1 genuine pair, 0 forgery.

    Returns
    -------
    (N,) losses ≥ 0.

    Examples
    --------
    >>> pair_loss(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    tensor([0.2500, 0.2500])
    >>> pair_loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))
    tensor([0., 0.])
    """
    pull = (distance - margin_genuine).clamp(min=0).square()
    push = (margin_forgery - distance).clamp(min=0).square()
    return label * pull + (1 - label) * push


def batch_contrastive(
    embeddings: Tensor,
    writers: Tensor,
    genuine: Tensor,
    *,
    margin_genuine: float,
    margin_forgery: float,
    skilled_weight: float,
    random_weight: float,
) -> ContrastiveTerms:
    """Contrastive loss over every pair in a batch that has a meaning.

    Genuine pairs: same writer, both genuine. Skilled: same writer, one genuine, one forged.
    Random: a genuine signature against anything of another writer. Forged against forged
    has no label and is left out. Each term is averaged over its pairs that still cost
    something, so that it does not fade as easy pairs are won.

    Parameters
    ----------
    embeddings : (B, E), unit length.
    writers : (B,) integer, the writer that each image claims to be.
    genuine : (B,) bool.
    """
    distance = pairwise_distance(embeddings, embeddings)
    same = writers[:, None] == writers[None, :]
    both = genuine[:, None] & genuine[None, :]
    either = genuine[:, None] | genuine[None, :]
    upper = torch.ones_like(same).triu(diagonal=1)

    def term(mask: Tensor, label: float) -> Tensor:
        chosen = distance[mask & upper]
        losses = pair_loss(chosen, torch.full_like(chosen, label), margin_genuine, margin_forgery)
        return losses.sum() / (losses > 0).sum().clamp(min=1)

    pulled = term(same & both, 1.0)
    skilled = term(same & either & ~both, 0.0)
    random = term(~same & either, 0.0)
    total = pulled + skilled_weight * skilled + random_weight * random
    return ContrastiveTerms(total, pulled.detach(), skilled.detach(), random.detach())


def pairwise_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances between unit vectors, (M, E) and (N, E) to (M, N), in [0, 2].

    As a matrix product: ``‖a − b‖² = 2 − 2 a·b``; the floor keeps the gradient finite.
    """
    squared = 2.0 - 2.0 * (a.float() @ b.float().T)
    return squared.clamp(min=1e-8).sqrt()
