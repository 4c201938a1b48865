"""Prune: old challengers leave the registry, and what nothing has used leaves the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from prefect import task
from prefect.artifacts import create_markdown_artifact

from siamese import retention
from siamese.config import Settings
from tasks import tracking

KEPT = "Kept: it is in use."  # ends the line of what is not removed


@task(name="prune", **tracking.ASKING)
def prune(settings: Settings, dry_run: bool) -> list[str]:
    """Apply the retention policy; one line for each thing that is, or would be, removed.

    A version that is champion, or was in up to the last thirty changes, stays: it can be rolled
    back to.
    """
    client = tracking.connect(settings)
    lines = []
    old = old_challengers(client, settings)
    for version in old:
        lines.append(f"Version {version.version} of {version.name}: an old challenger.")
        if not dry_run:
            _delete(client, version)
    since = datetime.now(UTC) - timedelta(days=settings.retention.unused_days)
    for one in retention.leftovers(settings.data_dir.resolve(), since):
        kept = "" if dry_run or retention.remove(one) else f" {KEPT}"
        lines.append(
            f"{one.path} ({one.size / 1e6:,.1f} MB): {one.what}, of {one.last_used:%Y-%m-%d}.{kept}"
        )
    listed = "\n".join(f"- {line}" for line in lines) or "Nothing."
    title = "Would be pruned" if dry_run else "Pruned"
    create_markdown_artifact(markdown=f"## {title}\n\n{listed}\n", key="prune")
    return lines


def old_challengers(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """Versions that never were champion, but for the newest ``retention.challengers``."""
    model = settings.tracking.model
    try:
        aliased = {str(version) for version in client.get_registered_model(model).aliases.values()}
        history = tracking.champion_history(client, model)
    except MlflowException as error:
        if error.error_code not in tracking.NOT_THERE:
            raise
        return []
    kept = aliased | {entry["version"] for entry in history}
    versions = client.search_model_versions(f"name = '{model}'")
    never = [one for one in versions if str(one.version) not in kept]
    never.sort(key=lambda one: int(one.version), reverse=True)
    return never[settings.retention.challengers :]


def _delete(client: MlflowClient, version: ModelVersion) -> None:
    """A version, its run and the files of both.

    The version goes last: who was cut off is finished by the next.
    """
    model = None
    try:
        model = client.get_logged_model(str(version.source).removeprefix("models:/"))
    except MlflowException as error:
        if error.error_code not in tracking.NOT_THERE:  # deleted before
            raise
    if model is not None:
        get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
    if version.run_id and tracking.exists(client, version.run_id):
        run = client.get_run(version.run_id)
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()
        client.delete_run(version.run_id)
    client.delete_model_version(version.name, version.version)
