"""The contrastive loss: its value, its sign, and which pairs it counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from siamese.loss import batch_contrastive, pair_loss, pairwise_distance

_SETTINGS = {
    "margin_genuine": 0.0,
    "margin_forgery": 1.0,
    "skilled_weight": 1.0,
    "random_weight": 1.0,
}


def test_value_by_hand() -> None:
    distance = torch.tensor([0.3, 0.3, 1.5, 1.5])
    label = torch.tensor([1.0, 0.0, 1.0, 0.0])
    # genuine: d²; forgery: (1 − d)² below the margin, 0 beyond it.
    assert pair_loss(distance, label).tolist() == pytest.approx([0.09, 0.49, 2.25, 0.0])


def test_double_margin_by_hand() -> None:
    distance, label = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1.0, 1.0, 0.0])
    assert pair_loss(distance, label, 0.2, 1.2).tolist() == pytest.approx([0.0, 0.09, 0.09])


@pytest.mark.parametrize(("label", "sign"), [(1.0, 1.0), (0.0, -1.0)])
def test_sign_genuine_is_pulled_together_forgery_pushed_apart(label: float, sign: float) -> None:
    distance = torch.tensor([0.5], requires_grad=True)
    pair_loss(distance, torch.tensor([label])).sum().backward()
    assert distance.grad is not None
    assert math.copysign(1, distance.grad.item()) == sign


def test_batch_counts_each_kind_of_pair_by_hand() -> None:
    angles = torch.tensor([0.0, 0.4, 0.7, 1.0])
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    writers = torch.tensor([0, 0, 0, 1])
    genuine = torch.tensor([True, True, False, True])

    def d(a: int, b: int) -> float:
        return 2 * math.sin(abs(float(angles[a] - angles[b])) / 2)

    terms = batch_contrastive(vectors, writers, genuine, **_SETTINGS)
    skilled = [(1 - d(0, 2)) ** 2, (1 - d(1, 2)) ** 2]
    # The forged image of writer 0 against the genuine one of writer 1 counts as random too.
    random = [(1 - d(0, 3)) ** 2, (1 - d(1, 3)) ** 2, (1 - d(2, 3)) ** 2]
    assert terms.genuine.item() == pytest.approx(d(0, 1) ** 2, abs=1e-5)
    assert terms.skilled.item() == pytest.approx(sum(skilled) / 2, abs=1e-5)
    assert terms.random.item() == pytest.approx(sum(random) / 3, abs=1e-5)


def test_won_pairs_do_not_dilute_the_mean() -> None:
    vectors = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.9, 0.4]]), dim=1)
    writers = torch.tensor([0, 0, 1, 2])
    genuine = torch.ones(4, dtype=torch.bool)
    terms = batch_contrastive(vectors, writers, genuine, **_SETTINGS)
    near = float(pairwise_distance(vectors[:1], vectors[3:])[0, 0])
    assert terms.random.item() == pytest.approx((1 - near) ** 2, abs=1e-5)


def test_gradient_is_finite_for_identical_signatures() -> None:
    vectors = F.normalize(torch.ones(4, 8), dim=1).requires_grad_()
    terms = batch_contrastive(
        vectors, torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), **_SETTINGS
    )
    terms.total.backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
