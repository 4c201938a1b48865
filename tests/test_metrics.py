"""Error rates: known cases, and properties that hold for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from siamese.intervals import bootstrap_over_writers
from siamese.metrics import (
    auc,
    cllr,
    cllr_min,
    det_curve,
    eer,
    false_accept_rate,
    false_reject_rate,
)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid, so that ties occur, and labels of both kinds."""
    labels = draw(st.lists(st.sampled_from([0, 1]), min_size=2, max_size=60))
    labels[:2] = [0, 1]
    scores = draw(st.lists(st.integers(-20, 20), min_size=len(labels), max_size=len(labels)))
    return np.array(scores) / 10.0, np.array(labels)


def test_far_and_frr_by_hand() -> None:
    scores, labels = np.array([0.9, 0.7, 0.4, 0.8, 0.2]), np.array([1, 1, 1, 0, 0])
    assert false_accept_rate(scores, labels, 0.7) == pytest.approx(1 / 2)
    assert false_reject_rate(scores, labels, 0.7) == pytest.approx(1 / 3)


def test_eer_by_hand() -> None:
    # Accepting from 0.6 up: one of four forgeries in, one of four genuine out.
    scores = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.4, 0.2, 0.1])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    assert float(eer(scores, labels)) == pytest.approx(0.25)


def test_cllr_by_hand() -> None:
    # LR 10 for the genuine pair, 1/10 for the forgery: both cost log2(1.1).
    assert float(cllr(np.array([1.0, -1.0]), np.array([1, 0]))) == pytest.approx(np.log2(1.1))


def test_cllr_punishes_confident_error() -> None:
    assert float(cllr(np.array([-3.0, 3.0]), np.array([1, 0]))) > 5


@given(scored())
def test_eer_is_a_rate_and_ignores_monotone_change(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    value = float(eer(scores, labels))
    assert 0 <= value <= 1
    assert float(eer(np.exp(scores) * 3 + 1, labels)) == pytest.approx(value)


@given(scored())
def test_eer_lies_between_the_error_rates_around_it(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    value = float(eer(scores, labels))
    det = det_curve(scores, labels)
    least = np.maximum(det.far, det.frr).min()
    most = np.minimum(det.far, det.frr).max()
    assert most - 1e-12 <= value <= least + 1e-12


@given(scored())
def test_swapping_roles_keeps_the_eer(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    assert float(eer(-scores, 1 - labels)) == pytest.approx(float(eer(scores, labels)))


@given(scored(), st.integers(-21, 21))
def test_far_and_frr_move_apart_with_the_threshold(
    data: tuple[np.ndarray, np.ndarray], at: int
) -> None:
    scores, labels = data
    low, high = at / 10.0, at / 10.0 + 0.35
    assert false_accept_rate(scores, labels, low) >= false_accept_rate(scores, labels, high)
    assert false_reject_rate(scores, labels, low) <= false_reject_rate(scores, labels, high)


@given(scored())
def test_auc_agrees_with_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    assert float(auc(scores, labels)) == pytest.approx(roc_auc_score(labels, scores))


@given(scored())
def test_cllr_min_is_at_most_one_and_at_most_any_cllr(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, labels = data
    best = cllr_min(scores, labels)
    assert 0 <= best <= 1
    off_the_ends = -np.log2(1 - 1 / (len(scores) + 2))  # what keeping off 0 and 1 costs
    assert best <= float(cllr(scores, labels)) + off_the_ends + 1e-9


@given(scored())
def test_weights_count_like_repetition(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    weights = np.arange(len(scores)) % 3 + 1
    repeated = np.repeat(np.arange(len(scores)), weights)
    expected = float(eer(scores[repeated], labels[repeated]))
    assert float(eer(scores, labels, weights[None])[0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.array([1.0, np.nan]), np.array([1, 0])),
        (np.array([1.0, 2.0]), np.array([1, 1])),
        (np.array([1.0, 2.0]), np.array([1, 2])),
        (np.array([1.0]), np.array([1, 0])),
    ],
)
def test_bad_input_is_refused(scores: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"scores|labels"):
        eer(scores, labels)


def test_interval_is_over_writers_not_pairs() -> None:
    rng = np.random.default_rng(0)
    errors = np.repeat(rng.random(20) < 0.3, 50).astype(float)  # writers all right or all wrong
    writers = np.repeat([f"w{i}" for i in range(20)], 50)

    def share(weights: np.ndarray) -> np.ndarray:
        return (weights * errors).sum(-1) / weights.sum(-1)

    found = bootstrap_over_writers(share, writers, n=1000, resamples=500, seed=1)
    assert found.low <= found.value <= found.high
    assert found.high - found.low > 0.25  # 1,000 independent pairs would give about 0.06
    assert (found.n, found.writers) == (1000, 20)


def test_no_error_seen_gets_the_rule_of_three() -> None:
    found = bootstrap_over_writers(
        lambda weights: np.zeros(len(weights)),
        np.array(["a", "b"]),
        n=1000,
        resamples=100,
        seed=1,
        signatures=150,
    )
    assert (found.value, found.low, found.high) == (0.0, 0.0, pytest.approx(0.02))


def test_pairs_of_two_writers_vary_with_both() -> None:
    """Some writers' signatures pass for those of anybody: the interval must show how many do."""
    names = np.array([f"w{i}" for i in range(20)])
    reference, questioned = (x.ravel() for x in np.meshgrid(names, names))
    apart = reference != questioned
    reference, questioned = reference[apart], questioned[apart]
    passes = np.isin(questioned, names[:4]).astype(float)

    def share(weights: np.ndarray) -> np.ndarray:
        return (weights * passes).sum(-1) / weights.sum(-1)

    some = {"n": 380, "resamples": 500, "seed": 1}
    blind = bootstrap_over_writers(share, reference, **some)
    found = bootstrap_over_writers(share, reference, questioned=questioned, **some)
    assert blind.high - blind.low < 0.05
    assert found.high - found.low > 0.25  # a share of 4 in 20 writers has 0.35
    assert (found.value, found.writers) == (blind.value, 20)


def test_a_pair_of_one_writer_counts_once_where_others_are_of_two() -> None:
    seen: list[np.ndarray] = []

    def keep(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights.sum(-1)

    reference, questioned = np.array(["a", "b", "a"]), np.array(["a", "b", "b"])
    bootstrap_over_writers(keep, reference, questioned=questioned, n=3, resamples=100, seed=1)
    drawn = seen[1]
    assert {tuple(row) for row in drawn} == {(2, 0, 0), (1, 1, 1), (0, 2, 0)}


def test_a_resample_that_lacks_a_kind_has_no_eer() -> None:
    scores, labels = np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0])
    assert np.isnan(eer(scores, labels, np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))).all()


@settings(max_examples=20)
@given(scored())
def test_bootstrap_is_the_same_for_a_seed(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = data
    writers = np.array([f"w{i % 5}" for i in range(len(scores))])
    twice = [
        bootstrap_over_writers(
            lambda weights: eer(scores, labels, weights), writers, n=1, resamples=100, seed=3
        )
        for _ in range(2)
    ]
    assert repr(twice[0]) == repr(twice[1])
