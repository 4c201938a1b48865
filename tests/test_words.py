"""Pieces of strokes and the words that they fall into."""

from __future__ import annotations

import numpy as np
import torch

from siamese import words
from siamese.edges import find_edges


def line(angle: float, shift: int = 0) -> torch.Tensor:
    """A drawn line through the middle, (1, 1, 96, 192); the angle in degrees."""
    y, x = np.mgrid[0:96, 0:192].astype(np.float64)
    turned = np.deg2rad(angle)
    away = np.abs((x - 96 - shift) * np.sin(turned) - (y - 48) * np.cos(turned))
    inside = np.hypot(x - 96 - shift, y - 48) < 40
    return torch.from_numpy(np.clip(3 - away, 0, 1) * inside).float()[None, None]


def pieces_of(*canvases: torch.Tensor) -> list[np.ndarray]:
    """By size, the pieces of all."""
    sizes = zip(*(words.pieces(found) for found in find_edges(torch.cat(canvases))), strict=True)
    return [torch.cat(some).numpy() for some in sizes]


LEVEL, STEEP = line(0), line(60)
VOCABULARY = words.learn_words(pieces_of(LEVEL, STEEP), seed=1)


def describe(*canvases: torch.Tensor) -> torch.Tensor:
    return words.describe(find_edges(torch.cat(canvases)), VOCABULARY)


def test_pieces_lie_along_the_strokes_and_are_of_unit_length() -> None:
    small, large = pieces_of(LEVEL)
    assert 20 < len(small) < 16 * 32 / 4
    assert 8 < len(large) < len(small)
    for found in (small, large):
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_piece_tells_which_way_its_strokes_run() -> None:
    for size in (0, 1):
        level, steep = (
            pieces_of(one)[size].mean(0).reshape(16, -1).sum(0) for one in (LEVEL, STEEP)
        )
        # Edges face across the stroke: a quarter turn from it, and the other way.
        assert sorted(np.argsort(level)[-2:]) == [3, 9]
        assert sorted(np.argsort(steep)[-2:]) == [5, 11]


def test_a_description_knows_a_stroke_wherever_it_stands() -> None:
    told = describe(LEVEL, line(0, shift=24), STEEP)
    assert told.shape == (3, words.LENGTH)
    torch.testing.assert_close(told.view(3, 2, -1).norm(dim=2), torch.ones(3, 2))
    assert (told[0] - told[1]).norm() < 0.5 * (told[0] - told[2]).norm()


def test_an_empty_canvas_and_one_without_words_are_told_as_nothing() -> None:
    assert not describe(torch.zeros(1, 1, 96, 192)).any()
    nothing = words.learn_words([np.zeros_like(some[:3]) for some in pieces_of(LEVEL)], seed=1)
    assert not nothing.centres.any()
    without = words.describe(find_edges(torch.zeros(1, 1, 96, 192)), nothing)
    assert torch.equal(without, torch.zeros(1, words.LENGTH))


def test_a_picture_is_told_the_same_beside_any_other() -> None:
    assert torch.equal(describe(LEVEL)[0], describe(torch.rand(1, 1, 96, 192), LEVEL)[1])


def test_words_are_the_same_for_the_same_seed_and_fewer_where_there_are_few_pieces() -> None:
    some = pieces_of(*(line(angle) for angle in range(0, 180, 10)))
    one, other = (words.learn_words(some, seed=5) for _ in range(2))
    for mine, its in zip(one, other, strict=True):
        assert torch.equal(mine, its)
    few = words.learn_words([of_size[:80] for of_size in some], seed=5)
    told = words.describe(find_edges(LEVEL), few)
    for centres, of_size in zip(few.centres, told.view(2, *few.centres.shape[1:]), strict=True):
        assert len(torch.unique(centres, dim=0)) <= 80 // 8 + 1
        # Words that are not there are never the nearest.
        assert not of_size[80 // 8 :].any()
