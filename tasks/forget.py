"""Forget: a writer leaves every store, and the models that were trained on them are named."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from prefect import task

from siamese import forgetting
from siamese.config import Settings
from siamese.errors import RunError
from siamese.verifier import Verifier
from tasks import tracking
from tasks.champion import version_files
from tasks.feedback import feedback_folder, lock_of_feedback
from tasks.stage import tell

#: Among a run's artifacts, what shows signatures of test writers.
HARDEST = "figures/hardest_pairs.png"


@task(name="forget", **tracking.ASKING)
def forget(settings: Settings, writer: str) -> list[str]:
    """Remove what is kept of a writer; one sentence for each kind of thing."""
    kept = feedback_folder(settings)
    with lock_of_feedback(kept) if kept.is_dir() else nullcontext():
        told = forgetting.forget(settings.data_dir.resolve(), writer)
    told += _models(settings, writer)
    told = told or ["Nothing is kept of this writer, and no model was trained on them."]
    # Not whose: what is told here stays.
    tell("forget", "A writer was forgotten", "\n".join(f"- {line}" for line in told))
    return told


def _models(settings: Settings, writer: str) -> list[str]:
    """Which versions were trained on the writer; pictures of them at runs are removed."""
    client = tracking.connect(settings)
    model = settings.tracking.model
    trained, shown, unread = [], 0, []
    for one in client.search_model_versions(f"name = '{model}'"):
        version = str(one.version)
        try:
            verifier = Verifier.load(version_files(settings, version).path)
            if _named(writer, verifier.provenance.get("training_writers", [])):
                trained.append(version)
            tested = {name for trials in verifier.record.test for name in trials.writer}
            if one.run_id and _named(writer, tested):
                shown += _remove_pictures(client, one.run_id)
        except (MlflowException, RunError, OSError):
            unread.append(version)
    told = []
    if shown:
        told.append(f"{shown} picture(s) of hardest pairs removed from the runs of models.")
    if trained:
        told.append(
            f"Trained on this writer: {model} version(s) {', '.join(sorted(trained, key=int))}. "
            "Weights hold no picture, but what they learnt came from it: siamese retrain, and "
            "delete those versions."
        )
    if unread:
        told.append(f"Could not be asked: version(s) {', '.join(sorted(unread, key=int))}.")
    return told


def _named(writer: str, names: Iterable[str]) -> bool:
    return any(name == writer or name.endswith(f":{writer}") for name in names)


def _remove_pictures(client: MlflowClient, run_id: str) -> int:
    """The hardest pairs of a run, which may be the writer's; how many there were."""
    if HARDEST not in [one.path for one in client.list_artifacts(run_id, "figures")]:
        return 0
    get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts(HARDEST)
    return 1
