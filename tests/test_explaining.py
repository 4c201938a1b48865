"""What the report shows beyond decisions: where signatures differ, and whether a batch drifted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from example_verifier import small_verifier, trials
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from siamese import drift
from siamese.explaining import align, difference_maps, draw_maps, explain, overlay
from siamese.model import to_input
from siamese.pictures import Picture, hash_pictures
from siamese.preparing import prepare_files
from siamese.record import Record, picture_facts
from siamese.scoring import Stores, with_vectors
from siamese.sources import synthetic

HEIGHT, WIDTH = 216, 432


def stroke(seed: int) -> np.ndarray:
    """Two crossing bars somewhere near the middle of a canvas."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    y, x = int(rng.integers(35, 55)), int(rng.integers(70, 110))
    canvas[y : y + 4, x - 25 : x + 25] = 200
    canvas[y - 15 : y + 15, x : x + 5] = 255
    return canvas


@given(st.integers(0, 100), st.integers(-15, 15), st.integers(-40, 40))
@settings(max_examples=40, deadline=None)
def test_a_moved_copy_is_moved_back(seed: int, down: int, right: int) -> None:
    questioned = stroke(seed)
    moved = np.roll(questioned, (down, right), (0, 1))
    assert np.array_equal(align(moved[None], questioned[None])[0], questioned)


def test_an_overlay_is_dark_where_both_have_ink_and_coloured_where_one_has() -> None:
    both, only = np.zeros((2, 1, HEIGHT, WIDTH), np.uint8)
    both[0, 40:44, 50:150] = 255
    only[0] = both[0]
    only[0, 40:80, 50:54] = 255
    picture = overlay(both, only)[0]
    dark, orange, paper = picture[41, 100].sum(), picture[70, 51], picture[5, 5]
    assert dark < 150
    assert orange[0] > 180 > orange[2] + 100
    assert paper.tolist() == [255, 255, 255]


def test_a_map_tells_what_erasing_would_do() -> None:
    """Its sum over the ink is the slope of the distance as all ink fades."""
    verifier = small_verifier()
    questioned = np.stack([stroke(seed) for seed in range(5)])
    references = verifier.embed(np.stack([stroke(seed) for seed in range(5, 10)]))
    maps = difference_maps(verifier.network, questioned, verifier.embed(questioned), references)
    assert maps.shape == questioned.shape
    assert (maps[questioned == 0] == 0).all()
    inputs = to_input(torch.from_numpy(questioned))
    target = torch.from_numpy(references)
    with torch.no_grad():
        fade = 1e-3
        full, less = (
            torch.linalg.vector_norm(verifier.network(inputs * share) - target, dim=1)
            for share in (1.0, 1 - fade)
        )
    slope = ((full - less) / fade).numpy()
    # Each pixel's effect is in up to 19 × 19 windows, and is counted where those lie on ink.
    assert (np.sign(maps.sum((1, 2))) == np.sign(slope)).sum() >= 4
    drawn = draw_maps(questioned, maps)
    red = (drawn[..., 0] > 150) & (drawn[..., 1] < 60)
    assert ((maps > 0)[red]).all()


def test_reviewed_claims_are_explained_and_lost_pictures_left_out(tmp_path: Path) -> None:
    synthetic.write_claims(tmp_path, seed=1, claims=3)
    verifier = small_verifier()
    files = [Picture(path) for path in sorted((tmp_path / "claims").glob("C-0001_*.png"))]
    ids = list(hash_pictures(files).values())
    stores = Stores.of(verifier, tmp_path / "store")
    facts = prepare_files(
        [(image_id, picture.path) for image_id, picture in zip(ids, files, strict=True)],
        verifier.imaging_settings,
        stores.canvases,
        workers=1,
    )
    with_vectors(facts, verifier, stores)
    decisions = pd.DataFrame(
        {
            "claim_id": ["a", "gone"],
            "questioned_id": ids[:2],
            "closest_reference_id": [ids[2], "f" * 64],
        }
    )
    made = pd.concat(explain([decisions], verifier, tmp_path / "store"), ignore_index=True)
    assert made["claim_id"].tolist() == ["a"]
    assert not list(explain([decisions], verifier, tmp_path / "empty"))
    for column in ("overlay", "difference"):
        picture = Image.open(io.BytesIO(made[column].iloc[0]))
        assert (picture.format, picture.size) == ("WEBP", (WIDTH, HEIGHT))


# --- drift -----------------------------------------------------------------------------------


def pictures(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Statistics of the pictures of twenty writers, who differ among themselves."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.normal(shift, 1, 20), 12)
    values = {name: rng.normal(centre, 0.5) for name in drift.STATISTICS}
    return pd.DataFrame({"writer": np.repeat([f"w{i}" for i in range(20)], 12), **values})


@pytest.mark.slow
@pytest.mark.parametrize("forged", [0.0, 0.05, 0.5])
def test_batches_like_the_calibration_data_raise_hardly_an_alarm(forged: float) -> None:
    alarms = []
    for seed in range(20):
        record = Record((trials(seed),), (), pictures(100 + seed))
        rng = np.random.default_rng(seed)
        other = trials(50 + seed, writers=60)
        batch = np.concatenate(
            [
                rng.choice(other.of("genuine").distance, 300 - int(300 * forged), replace=False),
                rng.choice(other.of("skilled_forgery").distance, int(300 * forged), replace=False),
            ]
        )
        shifts = drift.compare(record, 1, batch, pictures(200 + seed), seed=1)
        assert len(shifts) == 1 + len(drift.STATISTICS)
        alarms += [shift.alarm for shift in shifts]
    assert np.mean(alarms) < 0.05


@pytest.mark.slow
def test_many_claims_about_few_writers_raise_no_more() -> None:
    alarms = []
    for seed in range(30):
        record = Record((trials(seed, writers=20),), (), pictures(100 + seed))
        few = trials(50 + seed, writers=8).of("genuine")
        sizes = np.full(8, len(few.distance) // 8)
        (shift,) = drift.compare(record, 1, few.distance, pictures(1)[:0], seed=1, claims=sizes)
        alarms.append(shift.p_value <= 0.05)
    assert np.mean(alarms) < 0.2


def test_another_scanner_and_other_distances_raise_one() -> None:
    record = Record((trials(1),), (), pictures(1))
    found = {
        shift.name: shift
        for shift in drift.compare(
            record, 1, np.random.default_rng(1).normal(0.95, 0.02, 300), pictures(2, 5.0), seed=1
        )
    }
    assert all(shift.alarm for shift in found.values())
    assert found["width"].distance > 0.6


def test_a_handful_of_claims_tells_nothing() -> None:
    record = Record((trials(1),), (), pictures(1))
    assert drift.compare(record, 1, np.full(5, 1.9), pictures(2, 9.0)[:5], seed=1) == []


def test_of_batches_together_those_that_name_no_writer_stand_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def stored(store: object, size: object, writers: dict[str, str]) -> pd.DataFrame:
        seen.update(writers)
        return pictures(2)[:0]

    monkeypatch.setattr(drift, "stored_facts", stored)
    named = pd.DataFrame({"distance": [0.5], "n_references": 1, "questioned_id": "q"})
    both = pd.concat([named.assign(writer_id="ann"), named.assign(questioned_id="p")])
    drift.of_batch(both, small_verifier(), tmp_path, seed=1)
    assert seen == {"q": "ann", "p": "p"}


def test_picture_facts_see_pen_and_shape() -> None:
    thin, thick = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    thin[40:42, 20:170] = 255
    thick[40:48, 20:170] = 255
    facts = pd.DataFrame({"width": [1, 1], "height": [1, 1], "ink_fraction": [0.1, 0.1]})
    found = picture_facts(np.stack([thin, thick]), facts, ["a", "a"])
    assert found["stroke_width"].tolist() == sorted(found["stroke_width"])
    assert found["stroke_width"].iloc[1] > 2 * found["stroke_width"].iloc[0]
    assert found["aspect"].iloc[1] > found["aspect"].iloc[0]
