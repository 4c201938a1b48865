"""Champions, their history, and going back, on a registry that is a file of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from example_verifier import small_verifier
from mlflow import MlflowClient

from siamese.config import Settings
from siamese.files import sha256_of_file, write_json
from siamese.promotion import Verdict
from siamese.verifier import Verifier
from tasks import champion, rollback, tracking
from tasks.champion import TamperedModel, version_files
from tasks.register import _described, _registry
from tasks.rollback import NothingToRollBack
from tasks.stage import Output

MODEL = "signature-verifier"


@pytest.fixture
def registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Settings, MlflowClient]]:
    """Three versions, each a small verifier; none is champion."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for module in (rollback, champion):
        monkeypatch.setattr(module, "tell", lambda key, heading, what: what)
    settings = Settings(data_dir=tmp_path / "data")
    client = tracking.connect(settings)
    client.create_registered_model(MODEL)
    for number in (1, 2, 3):
        folder = tmp_path / f"v{number}"
        replace(small_verifier(), provenance={"number": number}).save(folder)
        with mlflow.start_run() as run:
            mlflow.log_artifacts(str(folder), "verifier")
        source = f"{run.info.artifact_uri}/verifier"
        client.create_model_version(MODEL, source, run.info.run_id)
        told = sha256_of_file(folder / "verifier.json")
        client.set_model_version_tag(MODEL, str(number), "verifier_sha256", told)
    yield settings, client
    # MLflow keeps both for the whole process.
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri("")


def back(settings: Settings, version: str = "") -> str:
    told: str = rollback.rollback.fn(settings, version)
    return told


def test_going_back_is_done_once_and_written_down(
    registry: tuple[Settings, MlflowClient],
) -> None:
    settings, client = registry
    with pytest.raises(NothingToRollBack, match="has no champion"):
        back(settings)
    for version in ("1", "2"):
        tracking.set_champion(client, MODEL, version, "Better.")
    assert back(settings) == "Version 1 is the champion. Rolled back from version 2."
    assert back(settings).startswith("Version 1 is the champion already, since 2")
    tracking.set_champion(client, MODEL, "3", "Better still.")
    assert back(settings) == "Version 1 is the champion. Rolled back from version 3."
    assert back(settings, "2") == "Version 2 is the champion. Rolled back from version 1."
    assert tracking.champion_of(client, MODEL) == "2"
    with pytest.raises(NothingToRollBack, match="no version 9"):
        back(settings, "9")
    history = tracking.champion_history(client, MODEL)
    assert [entry["version"] for entry in history] == ["1", "2", "1", "3", "1", "2"]


def test_an_interrupted_rollback_is_finished_not_undone(
    registry: tuple[Settings, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, client = registry
    for version in ("1", "2", "3"):
        tracking.set_champion(client, MODEL, version, "Better.")

    def away(*_: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="away"):
        patch.setattr(MlflowClient, "set_registered_model_alias", away)
        back(settings)
    assert back(settings) == "Version 2 is the champion. Rolled back from version 3."
    assert back(settings).startswith("Version 2 is the champion already")


def test_a_champion_from_before_the_history_can_be_gone_back_to(
    registry: tuple[Settings, MlflowClient],
) -> None:
    settings, client = registry
    client.set_registered_model_alias(MODEL, "champion", "1")
    tracking.set_champion(client, MODEL, "2", "Better.")
    assert back(settings) == "Version 1 is the champion. Rolled back from version 2."


def test_files_that_are_not_what_was_registered(
    registry: tuple[Settings, MlflowClient], tmp_path: Path
) -> None:
    settings, client = registry
    made = version_files(settings, "1")
    facts = made / "verifier.json"
    good = facts.read_text()
    facts.write_text(good.replace("0", "1"))
    # The copy here was wrong: it is fetched again. So are weights that are not those listed.
    assert (version_files(settings, "1") / "verifier.json").read_text() == good
    weights = (made / "weights.safetensors").read_bytes()
    for damage in (lambda file: file.write_bytes(weights[:-1]), Path.unlink):
        damage(made / "weights.safetensors")
        assert (version_files(settings, "1") / "weights.safetensors").read_bytes() == weights
    shutil.rmtree(settings.data_dir / "models")
    source = Path(str(client.get_model_version(MODEL, "1").source).removeprefix("file://"))
    (source / "verifier.json").write_text(good.replace("0", "1"))
    with pytest.raises(TamperedModel, match="not those that were registered"):
        version_files(settings, "1")


def test_an_alias_that_was_set_by_hand_is_rolled_back_from_once(
    registry: tuple[Settings, MlflowClient],
) -> None:
    settings, client = registry
    for version in ("1", "2"):
        tracking.set_champion(client, MODEL, version, "Better.")
    client.set_registered_model_alias(MODEL, "champion", "3")
    assert back(settings) == "Version 2 is the champion. Rolled back from version 3."
    assert back(settings).startswith("Version 2 is the champion already")
    assert tracking.champion_history(client, MODEL)[-1]["instead_of"] == "3"


@pytest.fixture
def better(
    registry: tuple[Settings, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    """Promotes version 2, which is better than version 1, the champion."""
    settings, client = registry
    tracking.set_champion(client, MODEL, "1", "The first.")
    registered = Output(stage="register", key="key", path=tmp_path / "registered")
    write_json(registered / "registered.json", {"version": 2})
    writers = [f"w{number}" for number in range(5)]
    table = pd.DataFrame({"kind": "skilled_forgery", "writer": writers})
    table["questioned_writer"] = table["writer"]
    monkeypatch.setattr(champion, "read_pairs", lambda *_: table)
    monkeypatch.setattr(champion, "IMAGES", SimpleNamespace(read=lambda _: None))
    monkeypatch.setattr(champion, "_usable", lambda *_: table["kind"] != "")
    monkeypatch.setattr(champion, "_trials", lambda *_: None)
    judged = Verdict(True, "Promoted: it is better.", -0.1, -0.2, -0.05)
    monkeypatch.setattr(champion.promotion, "judge", lambda *_, **__: judged)

    def promoted() -> str:
        told: str = champion.promote.fn(settings, registered, registered, registered)
        return told

    return promoted


def test_a_promotion_that_was_cut_off_is_done_the_next_time(
    registry: tuple[Settings, MlflowClient],
    better: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, client = registry

    def away(*_: object) -> None:
        raise OSError("away")

    for call in ("set_registered_model_tag", "set_registered_model_alias"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="away"):
            patch.setattr(MlflowClient, call, away)
            better()
        assert tracking.champion_of(client, MODEL) == "1"
    assert better() == "Promoted: it is better."
    assert tracking.champion_of(client, MODEL) == "2"
    assert better().endswith("It is the champion.")


def test_what_was_rolled_back_from_is_not_promoted_again(
    registry: tuple[Settings, MlflowClient], better: Callable[[], str]
) -> None:
    settings, client = registry
    assert better() == "Promoted: it is better."
    assert back(settings) == "Version 1 is the champion. Rolled back from version 2."
    assert "It was the champion and was rolled back from" in better()
    assert tracking.champion_of(client, MODEL) == "1"


def test_invented_signatures_do_not_replace_a_champion_of_real_ones(
    registry: tuple[Settings, MlflowClient],
    better: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, client = registry
    load = Verifier.load

    def trained(folder: Path) -> Verifier:
        writers = ["synthetic:001", "kaggle:001"]
        return replace(load(folder), provenance={"training_writers": writers})

    assert [source.kind for source in settings.sources] == ["synthetic"]
    with monkeypatch.context() as patch:
        patch.setattr(champion.Verifier, "load", trained)
        assert "invented signatures alone" in better()
    assert tracking.champion_of(client, MODEL) == "1"
    assert better() == "Promoted: it is better."


def test_a_version_that_was_deleted_is_registered_anew(
    registry: tuple[Settings, MlflowClient],
) -> None:
    settings, client = registry
    stages = settings.data_dir.resolve() / "stages"
    known = _registry(settings)
    kept = {
        "register/two": (known, "2"),
        "register/three": (known, "3"),
        "register_recalibrated/two": (known, "2"),
        "register/elsewhere": ("another", "2"),
    }
    for name, (where, version) in kept.items():
        told = {"registry": where, "model": MODEL, "version": version}
        write_json(stages / name / "registered.json", told)
    assert _registry(settings) == known
    assert all((stages / name).is_dir() for name in kept)
    client.delete_model_version(MODEL, "2")
    assert _registry(settings) == known
    left = [name for name in kept if (stages / name).is_dir()]
    assert left == ["register/three", "register/elsewhere"]


def test_versions_that_were_deleted_are_no_dead_end(
    registry: tuple[Settings, MlflowClient], better: Callable[[], str], tmp_path: Path
) -> None:
    settings, client = registry
    client.delete_model_version(MODEL, "1")
    assert better() == "Promoted: there was no champion."
    client.delete_model_version(MODEL, "2")
    with pytest.raises(champion.NoModel, match="Run the same again"):
        better()
    assert not (tmp_path / "registered").exists()
    with pytest.raises(NothingToRollBack, match="has no champion; name the version"):
        back(settings)
    assert back(settings, "3") == "Version 3 is the champion. There was no champion."


def test_what_a_database_cannot_hold_is_cut(registry: tuple[Settings, MlflowClient]) -> None:
    _, client = registry
    for number in range(50):
        tracking.set_champion(client, MODEL, str(number % 2 + 1), "ü" * 100, instead_of="3" * 9)
    text = client.get_registered_model(MODEL).tags["champion_history"]
    assert len(text) <= 5000
    assert tracking.champion_history(client, MODEL)[-1]["version"] == "2"
    assert _described("changes", "card") == "changes\n\ncard"
    cut = _described("c" * 4000, "d" * 4000)
    assert len(cut) < 5000
    assert cut.endswith("c\n\nThe model card is model_card.md at the run.\n")
    assert len(_described("c" * 6000, "d")) == 5000
