"""Stages: what their keys depend on, and what the leak probes and the registry gate catch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_data import images_table, split_writers

import siamese
from siamese import config, embedding, figures, handwriting, probes
from siamese.config import ImagingSettings, SplitSettings
from siamese.files import code_version
from siamese.probes import BACKGROUND_LIMIT, run_probes
from tasks import score, stage, train

# --- keys ------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``tasks_x`` in the project's namespace: a imports b, b imports c."""
    root = tmp_path / "tasks_x"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("from tasks_x.b import value\n")
    (root / "b.py").write_text("from tasks_x import c\nvalue = c.value\n")
    (root / "c.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("siamese.files._PROJECT", ("tasks_x",))
    return root


def test_a_key_follows_code_that_is_imported_at_any_depth(package: Path) -> None:
    module = importlib.import_module("tasks_x.a")
    before = code_version(module)
    assert code_version(module) == before
    (package / "c.py").write_text("value = 2\n")
    assert code_version(module) != before
    besides = (sys.modules["tasks_x.c"],)
    left_out = code_version(module, besides)
    (package / "c.py").write_text("value = 3\n")
    assert code_version(module, besides) == left_out


def test_scoring_follows_the_code_of_its_network_and_training_does_not_follow_drawing() -> None:
    besides = (config, stage)
    for module in (embedding, siamese.imaging, siamese.calibration, siamese.trials):
        assert code_version(score, besides) != code_version(score, (*besides, module))
    assert code_version(train, besides) != code_version(train, (*besides, figures))
    # What training leaves out is named where the stage is made.
    source = Path(str(train.__file__)).read_text()
    assert "besides=(figures, tracking)" in source


# --- probes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
    """Images of 20 invented writers on disk, and their splits."""
    folder = tmp_path_factory.mktemp("probed")
    rows = []
    for writer in range(20):
        rng = np.random.default_rng((9, writer))
        plan = handwriting.new_writer(rng)
        for kind, vary in (
            ("genuine", handwriting.genuine_variant),
            ("skilled_forgery", handwriting.skilled_forgery),
        ):
            for number in range(3):
                path = folder / f"{writer}-{kind}-{number}.png"
                path.write_bytes(handwriting.scan(handwriting.draw(vary(plan, rng), rng), rng))
                rows.append((str(path), f"s:{writer + 1:03d}", kind))
    images = pd.DataFrame(rows, columns=["path", "writer", "kind"])
    splits = split_writers(images_table(20), {}, SplitSettings(), 1)
    return images, splits, folder


def probe(probed: tuple[pd.DataFrame, pd.DataFrame, Path], canvases: np.ndarray) -> probes.Probes:
    images, splits, _ = probed
    vectors = np.random.default_rng(0).normal(size=(len(images), 8)).astype(np.float32)
    return run_probes(images, splits, canvases, vectors, ImagingSettings(), seed=1)


def canvases_of(images: pd.DataFrame) -> np.ndarray:
    data = [Path(path).read_bytes() for path in images["path"]]
    return np.stack([siamese.imaging.prepare(d, ImagingSettings()).pixels for d in data])


def test_our_canvases_hold_nothing_of_the_paper(
    probed: tuple[pd.DataFrame, pd.DataFrame, Path],
) -> None:
    found = probe(probed, canvases_of(probed[0]))
    assert found.healthy
    assert found.background_seen.value <= BACKGROUND_LIMIT


def test_a_planted_leak_is_found(probed: tuple[pd.DataFrame, pd.DataFrame, Path]) -> None:
    images = probed[0]
    canvases = canvases_of(images)
    # Forgeries lie on slightly darker paper that imaging "forgot" to remove.
    paper = np.where(images["kind"] == "genuine", 4, 9).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 4, canvases.shape, dtype=np.uint8)
    found = probe(probed, np.maximum(canvases, paper[:, None, None] + noise))
    assert not found.healthy
    assert found.background_seen.value > 0.9
