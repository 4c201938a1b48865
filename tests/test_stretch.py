"""Distances where all hands lie near each other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_verifier import small_verifier, trials
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from siamese.config import ScoringSettings
from siamese.enrolment import read_enrolment
from siamese.intake import read_claims
from siamese.scoring import Batch, score_claims
from siamese.stretch import FEWEST, near_by_source, near_hands, nearest_usual, stretch
from siamese.verifier import Verifier, VerifierError


def hands(writers: int, apart: float, each: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of some writers' signatures, and whose they are."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, apart, (writers, 16)) + np.eye(16)[0]
    vectors = np.repeat(centres, each, 0) + rng.normal(0, 0.01, (writers * each, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat([f"w{i}" for i in range(writers)], each)


def test_one_in_ten_pairs_of_different_writers_lie_within_it() -> None:
    vectors, writers = hands(12, 0.1)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)[writers[:, None] != writers]
    near = near_hands(vectors, writers)
    assert (apart <= near).mean() == pytest.approx(0.1, abs=0.01)
    order = np.random.default_rng(2).permutation(len(writers))
    assert near_hands(vectors[order], writers[order]) == pytest.approx(near, rel=1e-5)
    assert near < near_hands(*hands(12, 0.2))


def test_too_few_writers_tell_nothing() -> None:
    assert near_hands(*hands(FEWEST, 0.1)) > 0
    assert near_hands(*hands(FEWEST - 1, 0.1)) == 0
    assert near_hands(np.zeros((0, 4), np.float32), np.array([], str)) == 0
    assert stretch(0, 0.5) == stretch(0.5, 0) == 1
    same = np.tile(hands(1, 0.1, 1)[0], (FEWEST, 1))  # one picture under many names
    assert near_hands(same, np.arange(FEWEST).astype(str)) == pytest.approx(0, abs=1e-3)
    assert nearest_usual([]) == nearest_usual([0.0]) == 0


def test_the_usual_is_of_the_source_whose_hands_lie_nearest() -> None:
    (near, a), (far, b) = hands(10, 0.1), hands(10, 0.3)
    vectors, writers = np.concatenate([near, far]), np.concatenate([a, np.char.add("far ", b)])
    genuine = np.ones(len(writers), bool)
    sources = np.repeat(["one", "other"], 50)
    found = near_by_source(vectors, writers, genuine, sources)
    assert found == {"one": near_hands(near, a), "other": near_hands(far, b)}
    assert nearest_usual(found.values()) == found["one"]
    genuine[:50] = False
    assert near_by_source(vectors, writers, genuine, sources)["one"] == 0


@given(st.floats(0.01, 2), st.floats(0.01, 2))
def test_nothing_is_ever_shortened_or_put_out_of_reach(here: float, usual: float) -> None:
    by = stretch(here, usual)
    assert by == 1 or 1.05 <= by <= 1.333
    assert here < usual or by == 1
    assert stretch(here * 0.9, usual) >= by


def test_stretched_trials_keep_their_order_and_their_bounds() -> None:
    some = trials(1)
    some = replace(some, spread=some.distance / 2)
    longer = some.stretched(1.25)
    near = some.distance <= 1.6
    np.testing.assert_allclose(longer.distance[near], some.distance[near] * 1.25)
    assert longer.distance.max() <= 2
    np.testing.assert_allclose(longer.spread, some.spread * 1.25)
    assert some.stretched(1.0).distance.tolist() == some.distance.tolist()


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """Twelve people's claims with two references each, and one with none."""
    for number in range(10, 22):
        rng = np.random.default_rng(number)
        for name in ("questioned", "reference_1", "reference_2"):
            pixels = np.full((100, 300), 255, np.uint8)
            for x, y in zip(range(20, 280), rng.integers(0, 8, 260).cumsum() % 60, strict=True):
                pixels[y + 20 : y + 24, x : x + 4] = 20
            (folder := tmp_path / "claims" / f"{number}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{name}.png")
    (tmp_path / "claims" / "none").mkdir()
    return tmp_path / "claims"


def scored(claims: Path, near: float, work: Path, shard: int = 9) -> pd.DataFrame:
    """By a verifier with hands so near in its calibration."""
    work.mkdir(exist_ok=True)
    enrolment, store = read_enrolment(work / "none"), work.parent / "store"
    batch = Batch(claims, enrolment, store, work, "1", datetime(2026, 1, 2, tzinfo=UTC))
    verifier = replace(small_verifier(), near_hands=near)
    settings, found = ScoringSettings(shard=shard, workers=1), read_claims(claims)
    return score_claims(found, batch, verifier, settings).set_index("claim_id")


def test_bulk_scoring_stretches_all_distances_of_a_folder_by_one_factor(
    claims: Path, tmp_path: Path
) -> None:
    plain, longer = (scored(claims, near, tmp_path / f"{near}") for near in (0.0, 2.0))
    told = plain["distance"].notna()
    assert told.sum() == 12
    factors = longer["distance"][told] / plain["distance"][told]
    assert factors.to_numpy() == pytest.approx(np.full(12, 1.333))
    assert (longer["log10_lr"] <= plain["log10_lr"])[told].all()
    pd.testing.assert_frame_equal(plain, scored(claims, 1e-3, tmp_path / "farther"))
    pd.testing.assert_frame_equal(longer, scored(claims, 2.0, tmp_path / "small", shard=1))


def test_claims_of_one_person_are_no_different_hands(claims: Path, tmp_path: Path) -> None:
    """By the name in the manifest, or a reference that they share."""
    plain = scored(claims, 0.0, tmp_path / "plain")
    rows = "".join(f"{number},eva\n" for number in range(10, 22))
    (claims / "claims.csv").write_text(f"claim_id,writer_id\n{rows}")
    named = scored(claims, 2.0, tmp_path / "named")
    assert named["distance"].tolist() == plain["distance"].dropna().tolist()
    (claims / "claims.csv").unlink()
    for number in range(11, 22):
        shutil.copy(claims / "10" / "reference_1.png", claims / f"{number}" / "reference_3.png")
    plain, shared = (scored(claims, near, tmp_path / f"{near}") for near in (0.0, 2.0))
    pd.testing.assert_frame_equal(plain, shared)


def test_how_near_hands_lie_is_kept_with_a_verifier(tmp_path: Path) -> None:
    replace(small_verifier(), near_hands=0.41).save(tmp_path)
    assert Verifier.load(tmp_path).near_hands == 0.41
    facts = (tmp_path / "verifier.json").read_text()
    (tmp_path / "verifier.json").write_text(facts.replace('"near_hands": 0.41', '"near_hands": -1'))
    with pytest.raises(VerifierError, match="damaged"):
        Verifier.load(tmp_path)
