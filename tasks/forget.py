"""Forget: a writer leaves every store, and the models that were trained on them are named."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from prefect import task

from siamese import forgetting
from siamese.config import Settings
from siamese.errors import RunError
from siamese.files import read_json
from tasks import tracking
from tasks.champion import version_files
from tasks.stage import tell


@task(name="forget", **tracking.ASKING)
def forget(settings: Settings, writer: str) -> list[str]:
    """Remove what is kept of a writer; one sentence for each kind of thing."""
    told = forgetting.forget(settings.data_dir.resolve(), writer)
    told += _trained_on(settings, writer)
    told = told or ["Nothing is kept of this writer, and no model was trained on them."]
    # Not whose: what is told here stays.
    tell("forget", "A writer was forgotten", "\n".join(f"- {line}" for line in told))
    return told


def _trained_on(settings: Settings, writer: str) -> list[str]:
    client = tracking.connect(settings)
    model = settings.tracking.model
    versions, unread = [], []
    for one in client.search_model_versions(f"name = '{model}'"):
        version = str(one.version)
        try:
            files = version_files(settings, version).path
            known = read_json(files / "verifier.json")["provenance"].get("training_writers", [])
        except (MlflowException, RunError, OSError):
            unread.append(version)
            continue
        if any(name == writer or name.endswith(f":{writer}") for name in known):
            versions.append(version)
    told = []
    if versions:
        told.append(
            f"Trained on this writer: {model} version(s) {', '.join(sorted(versions, key=int))}. "
            "Weights hold no picture, but what they learnt came from it: siamese retrain, and "
            "delete those versions."
        )
    if unread:
        told.append(f"Could not be asked: version(s) {', '.join(sorted(unread, key=int))}.")
    return told
