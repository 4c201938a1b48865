"""What prune finds and removes, and what it leaves."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_verifier import small_verifier
from filelock import FileLock
from mlflow import MlflowClient
from test_rollback import MODEL, registry  # noqa: F401

from siamese.config import ImagingSettings, RetentionSettings, Settings
from siamese.errors import RunError
from siamese.preparing import canvas_store, stored_canvases
from siamese.retention import leftovers, remove
from siamese.scoring import Stores
from siamese.store import ContentStore, embedding_schema
from tasks import prune, tonight, tracking
from tasks.feedback import feedback_folder

OLD = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime.now(UTC)


def folder(data: Path, name: str, used: datetime = OLD) -> Path:
    made = data / name
    made.mkdir(parents=True)
    (made / "file").write_bytes(b"x" * 1000)
    os.utime(made, (used.timestamp(), used.timestamp()))
    return made


def test_only_what_can_be_made_again_and_is_unused_is_found(tmp_path: Path) -> None:
    gone = [
        folder(tmp_path, name)
        for name in (
            "stages/train/aaa", "stages/train/.bbb.partial", "models/ccc",
            "store/canvases/ddd", "store/embeddings/eee", "exchange/models/fff",
        )
    ]  # fmt: skip
    folder(tmp_path, "stages/train/fresh", NOW)
    for kept in (
        "raw/kaggle",
        "stages/score/aaa",
        "stages/report/aaa",
        "enrolled/pictures",
        "feedback/pictures",
        "mlflow/artifacts",
    ):
        folder(tmp_path, kept)
    (tmp_path / "stages/train/link").symlink_to(tmp_path / "raw", target_is_directory=True)
    found = leftovers(tmp_path, NOW - timedelta(days=30))
    assert {one.path for one in found} == set(gone)
    assert {one.size for one in found} == {1000}
    assert all(remove(one) for one in found)
    assert not any(path.exists() for path in gone)
    assert leftovers(tmp_path, NOW - timedelta(days=30)) == []


def test_pictures_seen_long_ago_leave_a_store_that_is_used_every_day(tmp_path: Path) -> None:
    verifier = small_verifier()
    canvases = np.zeros((2, 216, 432), np.uint8)
    canvases[0, 40:50, 20:170], canvases[1, 40:44, 20:170] = 255, 255
    store = Stores.of(verifier, tmp_path / "store").vectors
    for name, vector in zip("ab", verifier.embed(canvases), strict=True):
        store.put(pd.DataFrame({"image_id": [name], "embedding": [vector]}))
        if name == "a":
            (part,) = tmp_path.glob("store/embeddings/*/part-*")
            os.utime(part, (OLD.timestamp(), OLD.timestamp()))
    assert set(store.get(["a", "b"]).index) == {"a", "b"}
    (found,) = leftovers(tmp_path, NOW - timedelta(days=30))
    assert (found.path, found.what) == (part, "vectors made long ago")
    assert remove(found)
    assert set(store.get(["a", "b"]).index) == {"b"}


def test_a_merged_part_is_as_old_as_the_oldest_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siamese.store._MANY", 3)
    store = ContentStore(tmp_path / "store/embeddings/x", embedding_schema(1))
    for number in range(4):
        for part in tmp_path.glob("store/embeddings/x/part-*"):
            os.utime(part, (OLD.timestamp(), OLD.timestamp()))
        store.put(pd.DataFrame({"image_id": [str(number)], "embedding": [np.ones(1, np.float32)]}))
    (part,) = tmp_path.glob("store/embeddings/x/part-*")
    assert datetime.fromtimestamp(part.stat().st_mtime, UTC) == OLD
    assert len(store.get(list("0123"))) == 4


def test_pictures_that_are_pruned_while_they_are_needed_are_a_sentence(tmp_path: Path) -> None:
    store = canvas_store(tmp_path, ImagingSettings())
    with pytest.raises(RunError, match=r"1 canvas\(es\) left .* Run the command again"):
        stored_canvases(store, ["a"], ImagingSettings())


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    busy, woken = folder(tmp_path, "stages/train/aaa"), folder(tmp_path, "stages/train/bbb")
    found = {one.path: one for one in leftovers(tmp_path, NOW)}
    with FileLock(tmp_path / "stages/train/.aaa.lock"):
        assert not remove(found[busy])
    os.utime(woken)
    assert not remove(found[woken])
    assert busy.is_dir() and woken.is_dir()


def test_what_was_being_removed_is_removed(tmp_path: Path) -> None:
    half = folder(tmp_path, "models/.aaa.removed")
    (found,) = leftovers(tmp_path, NOW)
    assert remove(found)
    assert not half.exists()


def test_old_challengers_leave_and_every_champion_stays(
    registry: tuple[Settings, MlflowClient],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prune, "create_markdown_artifact", lambda **artifact: None)
    settings, client = registry
    settings = settings.model_copy(update={"retention": RetentionSettings(challengers=1)})
    tracking.set_champion(client, MODEL, "1", "First.")
    for _ in range(2):
        client.create_model_version(MODEL, client.get_model_version(MODEL, "3").source)
    tracking.set_champion(client, MODEL, "4", "Better.")
    old = prune.old_challengers(client, settings)
    assert [str(one.version) for one in old] == ["3", "2"]
    told = prune.prune.fn(settings, True)
    assert [line for line in told if "Version" in line] == [
        f"Version {n} of {MODEL}: an old challenger." for n in (3, 2)
    ]
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == 5


def test_a_night_takes_the_feedback_along_and_its_turn_by_age(
    registry: tuple[Settings, MlflowClient],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Log:
        def info(self, told: str) -> None: ...

    monkeypatch.setattr(tonight, "get_run_logger", Log)
    settings, client = registry
    assert tonight.tonight.fn(settings) == settings
    client.set_model_version_tag(MODEL, "2", tracking.TURN, "3")
    signatures = feedback_folder(settings) / "signatures.csv"
    signatures.parent.mkdir(parents=True)
    signatures.write_text("path,writer,kind\n")
    made = tonight.tonight.fn(settings)
    assert [source.label for source in made.sources] == ["synthetic", "feedback"]
    assert made.training.turn == 3

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # noqa: ARG003
            return datetime.now(UTC) + timedelta(days=31)

    monkeypatch.setattr(tonight, "datetime", Later)
    assert tonight.tonight.fn(settings).training.turn == 4
    never = settings.schedule.model_copy(update={"max_age_days": 0})
    assert tonight.tonight.fn(settings.model_copy(update={"schedule": never})).training.turn == 3
