"""Register: the verifier as an MLflow model version, with all that is known of it."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from PIL import Image
from prefect.tasks import exponential_backoff

import siamese
from siamese import handwriting
from siamese.config import Settings
from siamese.errors import RunError
from siamese.files import read_json, sha256_of_file, write_json
from siamese.tables import IMAGES, SCORES
from siamese.training import Epoch
from siamese.verifier import Verifier
from tasks import pyfunc_model, tracking
from tasks.changelog import changelog, data_counts
from tasks.evaluate import read_evaluations, splits_table
from tasks.stage import Output, Work, lock_of, stage

_REQUIREMENTS = (
    "mlflow", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pandera",
    "pyarrow", "Pillow", "pydantic-settings", "safetensors", "matplotlib",
)  # fmt: skip

_ABOUT = (
    "Compares a questioned signature with references: distance, calibrated probability, and "
    "accept, review or reject by a policy. The champion scores claims; a challenger waits."
)


#: Options of a stage that writes to the registry.
REGISTERING: dict[str, Any] = {
    "sections": ("tracking",),
    "besides": (tracking,),
    "outside": lambda parameters: _registry(parameters["settings"]),
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_condition_fn": tracking.server_away,
}


def _registry(settings: Settings) -> str:
    """Names the registry, once what was made here for versions deleted from it is gone.

    What is asked for then is registered anew, where a stage's output would name what is no more.
    """
    registry = tracking.registry_fingerprint(settings)
    model = settings.tracking.model
    made = {}
    for path in (settings.data_dir.resolve() / "stages").glob("register*/[!.]*/registered.json"):
        with suppress(OSError, ValueError, LookupError, TypeError):  # damaged: it is made again
            told = read_json(path)
            if (told["registry"], told["model"]) == (registry, model):
                made[path.parent] = str(told["version"])
    # Afterwards: what somebody has registered meanwhile is not taken for deleted.
    versions = tracking.connect(settings).search_model_versions(f"name = '{model}'")
    there = {str(one.version) for one in versions}
    for folder, version in made.items():
        if version not in there:
            with lock_of(folder):
                shutil.rmtree(folder, ignore_errors=True)
    return registry


class RegistrationRefused(RunError):
    """The model may not be registered; the message says why."""


@stage("register", **REGISTERING)
def register(
    work: Work, settings: Settings, splits: Output, trained: Output, evaluated: Output
) -> str:
    """A model version; the first one is champion, later ones are challengers.

    Raises
    ------
    RegistrationRefused : the background probe found the paper on what the network sees.
    """
    probes = read_json(evaluated / "probes.json")
    if not probes["healthy"]:
        raise RegistrationRefused(
            "The background probe tells genuine from forged on what the network sees (AUC "
            f"{probes['background_seen']['value']:.2f}): the paper leaks, so the model is not "
            "registered."
        )
    client = tracking.connect(settings)
    record = work.into / "run.json"
    run_id = _training_run(client, trained)
    if run_id and not record.is_file():
        write_json(record, {"run_id": run_id})
    with tracking.run_of(
        client, record, f"register-{evaluated.key[:8]}", tracking.parameters(settings)
    ) as run_id:
        _log_results(splits, trained, evaluated, probes)
        # A version that an interrupted attempt left is this one: there is one a run.
        left = client.search_model_versions(f"run_id = '{run_id}'")
        version = (
            left[0].version if left else log_model(evaluated / "verifier", settings.tracking.model)
        )
    client.set_tag(run_id, "registered_version", version)
    alias = _describe(client, settings, version, run_id, evaluated, splits, trained, probes)
    work.log(f"Registered {settings.tracking.model} version {version} as {alias}.")
    write_json(
        work.into / "registered.json",
        {
            "registry": work.outside,
            "model": settings.tracking.model,
            "version": version,
            "alias": alias,
            "run_id": run_id,
        },
    )
    return (
        f"## Registered\n\n`{settings.tracking.model}` version {version}, alias {alias}, "
        f"run `{run_id}`.\n"
    )


def _training_run(client: MlflowClient, trained: Output) -> str:
    """The run that the training logged to, when it is here and no version came of it yet."""
    run_id = str(read_json(trained / "run.json")["run_id"])
    if not tracking.exists(client, run_id):
        return ""
    return "" if "registered_version" in client.get_run(run_id).data.tags else run_id


def _log_results(
    splits: Output, trained: Output, evaluated: Output, probes: dict[str, Any]
) -> None:
    images = IMAGES.read(splits / "images.parquet")
    mlflow.log_metrics(data_counts(images))
    run = mlflow.active_run()
    if run is not None and "loss" not in run.data.metrics:
        for epoch in read_json(trained / "history.json")["epochs"]:
            tracking.log_epoch(Epoch(**epoch))
    if run is not None and run.inputs is not None and not run.inputs.dataset_inputs:
        tracking.log_dataset(images, splits_table(splits), splits.key)
    for one in read_evaluations(evaluated):
        for name, figure in one.figures.items():
            for suffix, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high)):
                mlflow.log_metric(f"test_{one.n_references}ref_{name}{suffix}", value)
    for name in ("background_seen", "background_raw", "global_seen", "questioned_only"):
        mlflow.log_metric(f"probe_{name}_auc", probes[name]["value"])
    for picture in sorted((evaluated / "figures").glob("*.png")):
        mlflow.log_artifact(str(picture), "figures")
    mlflow.log_artifact(str(trained / "training.png"), "figures")
    for name in ("model_card.md", "evaluation.json", "probes.json"):
        mlflow.log_artifact(str(evaluated / name))


def log_model(folder: Path, name: str) -> str:
    """Register a saved verifier from the active run; returns the version."""
    verifier = Verifier.load(folder)
    example = _example()
    made = verifier.compare(*_decoded(example))
    answer = pd.DataFrame([made.to_row()])
    info = mlflow.pyfunc.log_model(
        name="verifier",
        python_model=str(Path(str(pyfunc_model.__file__))),
        artifacts={"verifier": str(folder)},
        code_paths=[str(Path(str(siamese.__file__)).parent)],
        signature=infer_signature(example, answer),
        input_example=example,
        registered_model_name=name,
        pip_requirements=[f"{p}=={importlib.metadata.version(p)}" for p in _REQUIREMENTS],
    )
    return str(info.registered_model_version)


def verifier_sha256(folder: Path) -> str:
    """Of the file that names and checks all others of a saved verifier."""
    return sha256_of_file(folder / "verifier.json")


def _example() -> pd.DataFrame:
    """Two genuine signatures of an invented writer, as base64 PNG."""
    rng = np.random.default_rng(1)
    plan = handwriting.new_writer(rng)
    texts = []
    for _ in range(2):
        drawn = handwriting.draw(handwriting.genuine_variant(plan, rng), rng)
        out = io.BytesIO()
        drawn.resize((drawn.width // 2, drawn.height // 2), Image.Resampling.BOX).save(out, "PNG")
        texts.append(base64.b64encode(out.getvalue()).decode())
    return pd.DataFrame({"reference": texts[:1], "questioned": texts[1:]})


def _decoded(example: pd.DataFrame) -> tuple[list[bytes], bytes]:
    row = example.iloc[0]
    return [base64.b64decode(row["reference"])], base64.b64decode(row["questioned"])


def _described(told: str, card: str) -> str:
    """The changes and, where both fit, the model card; SQLite alone takes longer texts."""
    both = f"{told}\n\n{card}"
    if len(both) <= tracking.MOST_TEXT:
        return both
    rest = "\n\nThe model card is model_card.md at the run.\n"
    return f"{told[: tracking.MOST_TEXT - len(rest)]}{rest}"


def _describe(
    client: MlflowClient,
    settings: Settings,
    version: str,
    run_id: str,
    evaluated: Output,
    splits: Output,
    trained: Output,
    probes: dict[str, Any],
) -> str:
    """Description, tags and alias; returns the alias given."""
    model = settings.tracking.model
    champion = tracking.champion_of(client, model)
    told = changelog(
        client,
        model,
        run_id,
        read_evaluations(evaluated),
        SCORES.read(evaluated / "scores.parquet"),
        "" if champion == version else champion,
    )
    card = (evaluated / "model_card.md").read_text()
    client.update_model_version(model, version, _described(told, card))
    for name, value in {
        tracking.TURN: settings.training.turn,
        "policy": str(settings.policy),
        "probe_background_auc": f"{probes['background_seen']['value']:.3f}",
        "probe_questioned_only_auc": f"{probes['questioned_only']['value']:.3f}",
        "data_fingerprint": splits.key,
        "training_fingerprint": trained.key,
        "evaluation_fingerprint": evaluated.key,
        "verifier_sha256": verifier_sha256(evaluated / "verifier"),
    }.items():
        client.set_model_version_tag(model, version, name, value)
    client.update_registered_model(model, _ABOUT)
    if champion == version:
        return "champion"
    if champion:
        client.set_registered_model_alias(model, "challenger", version)
        return "challenger"
    tracking.set_champion(client, model, version, "The first.")
    return "champion"
