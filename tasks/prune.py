"""Prune: old challengers leave the registry, and what nothing has used leaves the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect import task
from prefect.artifacts import create_markdown_artifact

from siamese import retention
from siamese.config import Settings
from siamese.errors import RunError
from tasks import tracking

# The address may have a password, and other users of this machine can read arguments.
_GC = """
import os, sys
from mlflow.cli import cli
cli(["gc", "--backend-store-uri", os.environ["STORE"], *sys.argv[1:]])
"""


@task(name="prune", **tracking.ASKING)
def prune(settings: Settings, dry_run: bool) -> list[str]:
    """Apply the retention policy; one line for each thing that is, or would be, removed.

    A version that is or was champion stays, so that it can be rolled back to.
    """
    client = tracking.connect(settings)
    lines = []
    old = old_challengers(client, settings)
    for version in old:
        lines.append(f"Version {version.version} of {version.name}: an old challenger.")
    if old and not dry_run:
        _delete(client, settings, old)
    since = datetime.now(UTC) - timedelta(days=settings.retention.unused_days)
    for one in retention.leftovers(settings.data_dir.resolve(), since):
        kept = "" if dry_run or retention.remove(one) else " Kept: it is in use."
        lines.append(
            f"{one.path} ({one.size / 1e6:,.1f} MB): {one.what}, last used "
            f"{one.last_used:%Y-%m-%d}.{kept}"
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
        if error.error_code not in tracking.REFUSALS:
            raise
        return []
    kept = aliased | {entry["version"] for entry in history}
    versions = client.search_model_versions(f"name = '{model}'")
    never = [one for one in versions if str(one.version) not in kept]
    never.sort(key=lambda one: int(one.version), reverse=True)
    return never[settings.retention.challengers :]


def _delete(client: MlflowClient, settings: Settings, versions: list[ModelVersion]) -> None:
    """Versions, their runs and their files; where a server keeps the files, it collects them."""
    models = [one.source.removeprefix("models:/") for one in versions if one.source]
    runs = [one.run_id for one in versions if one.run_id]
    for version in versions:
        client.delete_model_version(version.name, version.version)
    for run_id in runs:
        client.delete_run(run_id)
    for model_id in models:
        client.delete_logged_model(model_id)
    uri = tracking.tracking_uri(settings)
    if uri.startswith("http"):
        return
    done = subprocess.run(
        [
            sys.executable, "-c", _GC,
            "--run-ids", ",".join(runs), "--logged-model-ids", ",".join(models),
        ],
        capture_output=True, text=True, check=False, env={**os.environ, "STORE": uri},
    )  # fmt: skip
    if done.returncode:
        raise RunError(f"mlflow gc failed: {done.stderr.strip()[-500:]}")
