"""MLflow: where it is, and what goes into a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import requests
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from siamese.config import Settings
from siamese.files import fingerprint, read_json, write_json
from siamese.training import Epoch


def server_away(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001
    """For retries: the tracking server did not answer, so that it may the next time."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, MlflowException):
        return bool(error.error_code not in REFUSALS)
    return isinstance(error, requests.exceptions.RequestException)


#: Options of a task that asks the registry.
ASKING: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 5,
    "retry_condition_fn": server_away,
}

#: Answers of a server that is there: there is no such thing, or you may not.
NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
REFUSALS = NOT_THERE | {"PERMISSION_DENIED", "UNAUTHENTICATED"}


def tracking_uri(settings: Settings) -> str:
    """``MLFLOW_TRACKING_URI``, else the setting, else SQLite in the data folder."""
    default = f"sqlite:///{settings.data_dir.resolve() / 'mlflow' / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or settings.tracking.uri or default


def artifact_root(settings: Settings) -> Path:
    """Where artifacts lie when there is no tracking server to keep them."""
    return settings.data_dir.resolve() / "mlflow" / "artifacts"


def connect(settings: Settings) -> MlflowClient:
    """Point MLflow at its store, make the experiment if need be, and return a client."""
    uri = tracking_uri(settings)
    local = uri.startswith("sqlite:///")
    if local:
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient()
    name = settings.tracking.experiment
    if client.get_experiment_by_name(name) is None:
        client.create_experiment(
            name, artifact_location=artifact_root(settings).as_uri() if local else None
        )
    mlflow.set_experiment(name)
    return client


def registry_fingerprint(settings: Settings) -> str:
    """Names the registry; a store that was thrown away and made anew is another one."""
    experiment: Any = connect(settings).get_experiment_by_name(settings.tracking.experiment)
    return fingerprint(experiment.experiment_id, experiment.creation_time)


#: Tag of a version that was trained: its ``training.turn``.
TURN = "turn"

_HISTORY = "champion_history"
_MOST_TOLD = 30  # entries
#: Characters that a registry's database holds of a tag's value or a description.
MOST_TEXT = 5000


def champion_history(client: MlflowClient, model: str) -> list[dict[str, str]]:
    """Every champion so far, oldest first: ``version``, ``at``, ``why``, and ``instead_of``.

    The last is the version that was rolled back from, empty for a promotion.
    """
    found: list[dict[str, str]] = json.loads(
        client.get_registered_model(model).tags.get(_HISTORY, "[]")
    )
    return found


def champion_of(client: MlflowClient, model: str) -> str:
    """The champion's version; empty when there is none."""
    aliases = client.get_registered_model(model).aliases
    return str(aliases.get("champion", ""))


def set_champion(
    client: MlflowClient, model: str, version: str, why: str, instead_of: str = ""
) -> None:
    """Write it down, then point the alias at a version; the champion again is no news.

    In that order: a call that was interrupted between the two is finished by the next.
    """
    history, present = champion_history(client, model), champion_of(client, model)
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def entry(version: str, why: str, instead_of: str = "") -> dict[str, str]:
        return {"version": version, "at": now, "why": why[:100], "instead_of": instead_of}

    if not history and present not in ("", version):
        history.append(entry(present, "Champion before the history began."))
    last = history[-1] if history else {"version": "", "instead_of": ""}
    # By an interrupted call, or of the champion that it is; an alias may have been set by hand.
    told = last["version"] == version and (
        present == version or last.get("instead_of", "") == instead_of
    )
    if not told:
        history.append(entry(version, why, instead_of))
        history = history[-_MOST_TOLD:]
        while len(text := json.dumps(history)) > MOST_TEXT:
            history = history[1:]
        client.set_registered_model_tag(model, _HISTORY, text)
    client.set_registered_model_alias(model, "champion", version)


def parameters(settings: Settings) -> dict[str, str]:
    """The settings as MLflow parameters: dotted names, values as text."""
    return _flat(settings.model_dump(mode="json", exclude={"tracking", "data_dir"}))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value)
    return found


def exists(client: MlflowClient, run_id: str) -> bool:
    """Is there such a run, not deleted?"""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


@contextmanager
def run_of(
    client: MlflowClient,
    record: Path,
    name: str,
    parameters: dict[str, str],
    machine: bool = False,
) -> Iterator[str]:
    """The run that ``record`` names, or a new one that it names from then on.

    A run that was killed goes on as the same run. It ends as finished, or as failed when
    the body raises. ``machine``: log its load too.
    """
    run_id = read_json(record)["run_id"] if record.is_file() else ""
    if run_id and exists(client, run_id):
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        with mlflow.start_run(run_id=run_id, log_system_metrics=machine):
            yield run_id
        return
    with mlflow.start_run(run_name=name, log_system_metrics=machine) as run:
        mlflow.log_params(parameters)
        write_json(record, {"run_id": run.info.run_id})
        yield run.info.run_id


def log_epoch(epoch: Epoch) -> None:
    """One point of each curve, in the active run."""
    mlflow.log_metrics(
        {
            name: value
            for name, value in vars(epoch).items()
            if name != "step" and value == value  # nan has no point  # noqa: PLR0124
        },
        step=epoch.step,
    )


def log_dataset(images: pd.DataFrame, splits: pd.DataFrame, fingerprint: str) -> None:
    """The images table as the active run's dataset: its digest and its writers by split."""
    table = images.merge(splits, on="writer")[["image_id", "writer", "kind", "source", "split"]]
    name = "+".join(sorted(table["source"].unique()))
    dataset = from_pandas(table, name=name, digest=fingerprint)
    mlflow.log_input(dataset, context="training")
