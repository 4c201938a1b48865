"""How strokes run: what the description sees, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamese import strokes, telling
from siamese.augment import RESCANS, bend
from siamese.config import NetworkSettings
from siamese.edges import find_edges
from siamese.model import SignatureNet, seen
from siamese.strokes import PARTS
from siamese.telling import Described

UNBENT = np.zeros((0, strokes.LENGTH), np.float32)


def ring(width: float = 3.0, slant: float = 0.0, shift: int = 0) -> torch.Tensor:
    """A drawn ellipse, (1, 1, 96, 192)."""
    y, x = np.mgrid[0:96, 0:192].astype(np.float64)
    x = x - 96 - shift + slant * (y - 48)
    away = np.abs(np.hypot(x / 1.5, y - 48) - 30)
    return torch.from_numpy(np.clip(width - away, 0, 1)).float()[None, None]


def describe(canvases: torch.Tensor) -> torch.Tensor:
    return strokes.describe(find_edges(canvases))


def gap(a: torch.Tensor, b: torch.Tensor, part: slice) -> float:
    return float((describe(a) - describe(b))[:, part].norm())


def test_descriptions_are_of_unit_length_and_distances_below_the_square_root_of_two() -> None:
    described = describe(torch.cat([ring(), ring(slant=0.5), ring(width=6)]))
    assert described.shape == (3, strokes.LENGTH)
    for told in described.split(list(PARTS), 1):
        torch.testing.assert_close(told.norm(dim=1), torch.ones(3))
        assert (torch.cdist(told, told) <= 2**0.5 + 1e-6).all()


def test_of_the_whole_where_it_stands_and_how_thick_the_pen_is_matter_less_than_the_slant() -> None:
    whole = slice(0, PARTS[0])
    plain = ring()
    assert gap(plain, ring(shift=25), whole) < 0.02
    assert gap(plain, ring(width=4), whole) < gap(plain, ring(slant=0.5), whole) / 2


def test_the_cells_tell_where_it_stands() -> None:
    cells = slice(PARTS[0], None)
    assert gap(ring(), ring(shift=25), cells) > 5 * gap(ring(), ring(shift=1), cells)


def test_bending_and_rescanning_leave_a_signature_what_it_is() -> None:
    pictures = torch.cat([ring(slant=slant) for slant in (-0.4, 0.0, 0.4)])
    for again in (
        bend(pictures, torch.Generator().manual_seed(2)),
        *(rescan(pictures) for rescan in RESCANS.values()),
    ):
        assert again.shape == pictures.shape
        assert 0 <= again.min() <= again.max() <= 1
        assert not torch.equal(again, pictures)
        apart = torch.cdist(describe(again), describe(pictures))
        assert apart.argmin(1).tolist() == [0, 1, 2]


def test_an_empty_canvas_has_no_strokes() -> None:
    assert describe(torch.zeros(1, 1, 96, 192)).abs().sum() == 0


def test_a_picture_is_told_the_same_beside_any_other() -> None:
    alone = describe(ring())
    beside = describe(torch.cat([torch.rand(1, 1, 96, 192), ring()]))
    assert torch.equal(alone[0], beside[1])


def hands(seed: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Rings: a writer has a slant, and a forger takes it but not the height of the pen's mark."""
    rng = np.random.default_rng(seed)
    pictures, writers, genuine = [], [], []
    for writer, slant in enumerate(rng.uniform(-0.5, 0.5, 8)):
        for kind in (True, False):
            for _ in range(4):
                width = rng.uniform(2.5, 3.5)
                away = 0.0 if kind else 0.25
                pictures.append(ring(width=width, slant=slant + away + rng.normal(0, 0.02)))
                writers.append(f"{seed}-{writer}")
                genuine.append(kind)
    return torch.cat(pictures), np.array(writers), np.array(genuine)


def test_axes_of_some_writers_tell_others_from_their_forgers() -> None:
    pictures, writers, genuine = hands(1)
    shown = Described(describe(pictures).numpy(), writers, genuine)
    axes, mean = telling.telling_axes(shown, UNBENT, PARTS, (1, 1), 16)
    assert axes.shape == (16, strokes.LENGTH)
    assert mean.shape == (16,)
    pictures, writers, genuine = hands(2)
    told = describe(pictures).numpy()
    same = (writers[:, None] == writers) & np.triu(np.ones((len(told), len(told)), bool), 1)

    def shares(vectors: np.ndarray) -> float:
        """How much farther a forgery is than a genuine one."""
        apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
        both, one = genuine[:, None] & genuine, genuine[:, None] ^ genuine
        return float(apart[same & one].mean() / apart[same & both].mean())

    assert shares(told @ axes.T) > 1.5 * shares(told)


def test_axes_that_tell_more_count_more_and_so_do_parts_that_weigh_more() -> None:
    # Two numbers a part: writers differ much in the first, and little in the second.
    rng = np.random.default_rng(3)
    hands = np.repeat(rng.normal(size=(40, 4)) * [4, 0.5, 4, 0.5], 10, axis=0)
    drawn = (hands + rng.normal(size=hands.shape)).astype(np.float32)
    writers = np.repeat(np.arange(40).astype(str), 10)
    shown = Described(drawn, writers, np.ones(400, bool))
    unbent = np.zeros((1, 4), np.float32)
    axes, _ = telling.telling_axes(shown, unbent, (2, 2), (1, 2), 4)
    within = np.array([(drawn - hands) @ axis for axis in axes]).std(axis=1)
    assert np.abs(axes[0]).argmax() == 0
    assert np.abs(axes[3]).argmax() == 3
    assert (within[[0, 2]] > 1.5 * within[[1, 3]]).all()
    assert within[2] == pytest.approx(2 * within[0], rel=0.15)


def test_axes_pass_over_what_bending_changes() -> None:
    pictures, writers, genuine = hands(1)
    shown = Described(describe(pictures).numpy(), writers, genuine)
    bent = bend(pictures[genuine], torch.Generator().manual_seed(1))
    moved = describe(bent).numpy() - shown.descriptions[genuine]
    length = {}
    for name, known in (("not told", UNBENT), ("told", moved)):
        axes, _ = telling.telling_axes(shown, known, PARTS, (1, 1), 16)
        spread = (shown.descriptions - shown.descriptions.mean(0)) @ axes.T
        length[name] = np.linalg.norm(moved @ axes.T) / np.linalg.norm(spread)
    assert length["told"] < 0.8 * length["not told"]


def test_what_so_few_signatures_cannot_tell_is_left_zero() -> None:
    pictures = torch.cat([ring(slant=slant) for slant in (0, 0.1, 0.3, 0.4)])
    told = describe(pictures).numpy()
    every = np.ones(4, bool)

    def axes_of(descriptions: np.ndarray, writers: str) -> tuple[np.ndarray, np.ndarray]:
        shown = Described(descriptions, np.array(list(writers)), every)
        return telling.telling_axes(shown, UNBENT, PARTS, (1, 1), 16)

    few = axes_of(told, "aabb")
    assert np.abs(few[0]).any(axis=1).sum() <= 6  # three a part: four pictures, less their mean
    alike = axes_of(told[[0] * 4], "aabb")
    assert not alike[0].any()
    nobody = axes_of(told, "abcd")
    assert not nobody[0].any()
    assert not nobody[1].any()


def test_how_far_a_hand_reaches_is_foretold_from_its_look() -> None:
    # What a hand looks like is one number; how far its signatures and their forgeries lie
    # apart grows with it. Another scanner adds to the look, and halves all distances.
    rng = np.random.default_rng(3)
    axes = np.zeros((8, strokes.LENGTH), np.float32)
    axes[:, 100:108] = np.eye(8) * 1e6

    def of_writers(count: int, coarse: bool) -> tuple[Described, np.ndarray]:
        look = rng.uniform(-1, 1, count).repeat(12)
        genuine = np.tile([True] * 6 + [False] * 6, count)
        told = rng.normal(0, 1e-3, (len(look), strokes.LENGTH)).astype(np.float32)
        told[:, :50] += look[:, None] / 50
        told[:, 50:100] += coarse / 50
        along = rng.normal(0, 1, (len(look), 8)) + 3.0 * ~genuine[:, None]
        reach = look / 2 - np.log(2) * coarse
        told[:, 100:108] = along * np.exp(reach)[:, None] / 1e6
        return Described(told, np.arange(count).repeat(12).astype(str), genuine), reach

    (plain, _), (coarse, _) = of_writers(40, False), of_writers(40, True)
    weights, usual = telling.scale_of_hands([plain, coarse], axes)
    for scan in (False, True):
        others, reach = of_writers(40, scan)
        # Half of all are coarse: what is usual is halfway between.
        foretold = others.descriptions @ weights - usual - np.log(2) / 2
        assert np.abs(foretold - reach).max() < 0.2


def test_no_hand_is_scaled_where_nobody_was_forged_or_signed_twice() -> None:
    pictures, writers, genuine = hands(1)
    told = describe(pictures).numpy()
    for some in (genuine, ~genuine, np.arange(len(told)) % 8 == 0):
        shown = Described(told[some], writers[some], genuine[some])
        found = telling.scale_of_hands([shown], np.eye(strokes.LENGTH, dtype=np.float32))
        assert not found[0].any()
        assert found[1] == 0


def test_hands_like_which_there_are_many_lie_farther_off(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, writers, genuine = hands(1)
    network = SignatureNet(NetworkSettings(widths=(8, 12), strokes=16)).eval()
    shown = Described(network.describe(pictures).numpy(), writers, genuine)
    network.fit_strokes(shown, np.zeros((0, sum(network.parts)), np.float32), shown)
    others = hands(2)[0]
    held = network.beside(others)
    monkeypatch.setattr(network, "crowded", 0.0)
    plain = network.beside(others)
    known = torch.nn.functional.normalize(
        network.beside(pictures[torch.from_numpy(genuine)]), dim=1
    )
    to_each = torch.cdist(
        torch.nn.functional.normalize(plain, dim=1), known.unflatten(0, (8, 4)).mean(1)
    )
    far = to_each.topk(3, largest=False).values.mean(1)
    # The last number is what all vectors share: the less of it, the farther apart they lie.
    shared = held[:, -1] / plain[:, -1]
    assert torch.equal(held[:, :-1], plain[:, :-1])
    assert shared.min() < 1 < shared.max()
    assert np.corrcoef(far.log(), shared.log())[0, 1] > 0.95


def test_who_is_known_is_no_more_than_fit_and_from_every_scanner() -> None:
    rng = np.random.default_rng(1)
    writers, genuine = np.repeat(list("abcdef"), 4), np.tile([True, True, True, False], 6)
    vectors = rng.normal(size=(2, 24, 3)).astype(np.float32)
    told = Described(vectors[0], writers, genuine)
    means, whose = telling.cohort_of(vectors, told, 100)
    assert whose.tolist() == list("abcdef") * 2
    first = vectors[1, :3].mean(0)
    np.testing.assert_allclose(means[6], first / np.linalg.norm(first), rtol=1e-5)
    means, whose = telling.cohort_of(vectors, told, 4)
    assert whose.tolist() == ["a", "f"] * 2


def test_vectors_are_of_unit_length_and_as_long_as_is_said() -> None:
    pictures, writers, genuine = hands(1)
    settings = NetworkSettings(widths=(8, 12), strokes=16)
    network = SignatureNet(settings).eval()
    shown = Described(network.describe(pictures).numpy(), writers, genuine)
    network.fit_strokes(shown, np.zeros((0, sum(network.parts)), np.float32), shown)
    vectors = network(pictures)
    assert vectors.shape == (64, settings.length) == (64, 128 + 16 + 1)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(64))


def test_without_strokes_the_vector_is_what_is_learnt() -> None:
    network = SignatureNet(NetworkSettings(widths=(8, 12), strokes=0)).eval()
    assert torch.equal(network(ring()), network.shape(seen(ring())))
