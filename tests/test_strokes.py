"""How strokes run: what the description sees, and what it does not."""

from __future__ import annotations

import numpy as np
import torch

from siamese import strokes
from siamese.config import NetworkSettings
from siamese.model import SignatureNet


def ring(width: float = 3.0, slant: float = 0.0, shift: int = 0) -> torch.Tensor:
    """A drawn ellipse, (1, 1, 96, 192)."""
    y, x = np.mgrid[0:96, 0:192].astype(np.float64)
    x = x - 96 - shift + slant * (y - 48)
    away = np.abs(np.hypot(x / 1.5, y - 48) - 30)
    return torch.from_numpy(np.clip(width - away, 0, 1)).float()[None, None]


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((strokes.describe(a) - strokes.describe(b)).norm())


def test_descriptions_are_of_unit_length_and_distances_below_the_square_root_of_two() -> None:
    told = strokes.describe(torch.cat([ring(), ring(slant=0.5), ring(width=6)]))
    assert told.shape == (3, strokes.LENGTH)
    torch.testing.assert_close(told.norm(dim=1), torch.ones(3))
    assert (torch.cdist(told, told) <= 2**0.5 + 1e-6).all()


def test_where_it_stands_and_how_thick_the_pen_is_matter_less_than_the_slant() -> None:
    plain = ring()
    assert gap(plain, ring(shift=25)) < 0.02
    assert gap(plain, ring(width=4)) < gap(plain, ring(slant=0.5)) / 2


def test_an_empty_canvas_has_no_strokes() -> None:
    assert strokes.describe(torch.zeros(1, 1, 96, 192)).abs().sum() == 0


def test_a_picture_is_told_the_same_beside_any_other() -> None:
    alone = strokes.describe(ring())
    beside = strokes.describe(torch.cat([torch.rand(1, 1, 96, 192), ring()]))
    assert torch.equal(alone[0], beside[1])


def test_vectors_keep_the_distances_of_the_descriptions() -> None:
    pictures = torch.cat([ring(width=w, slant=s) for w in (2.5, 4) for s in (0, 0.2, 0.4, -0.3)])
    network = SignatureNet(NetworkSettings(widths=(8, 12), strokes=16)).eval()
    network.fit_strokes(pictures)
    axes = network.stroke_axes
    torch.testing.assert_close(axes[:8] @ axes[:8].T, torch.eye(8), atol=1e-4, rtol=0)
    assert axes[8:].abs().sum() == 0  # no more axes than pictures
    told = strokes.describe(pictures)
    torch.testing.assert_close(
        torch.cdist(told @ axes.T, told @ axes.T), torch.cdist(told, told), atol=1e-3, rtol=0
    )
    vectors = network(pictures)
    assert vectors.shape == (8, network.length) == (8, 128 + 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(8))


def test_without_strokes_the_vector_is_what_is_learnt() -> None:
    network = SignatureNet(NetworkSettings(widths=(8, 12), strokes=0)).eval()
    assert torch.equal(network(ring()), network.shape(ring()))
