"""Champion: fetch a registered version, and promote a challenger when it is better."""

from __future__ import annotations

import shutil
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from siamese import promotion
from siamese.config import Settings
from siamese.errors import RunError
from siamese.files import fingerprint, sha256_of_file
from siamese.promotion import Verdict
from siamese.tables import IMAGES
from siamese.trials import Trials, pair_distances, single_trials
from siamese.verifier import Verifier
from tasks import tracking
from tasks.pairs import read_pairs
from tasks.signatures import signature_set
from tasks.stage import Output


class NoModel(RunError):
    """There is no such model version; the message says how to get one."""


def _may_work_later(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001
    return not isinstance(state.result(raise_on_failure=False), NoModel)


@task(
    name="fetch_model",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_may_work_later,
)
def fetch_model(settings: Settings, alias: str = "champion") -> Output:
    """The files of the version with an alias; named by content, downloaded once.

    Raises
    ------
    NoModel : nothing is registered under that name and alias.
    """
    client = tracking.connect(settings)
    model = settings.tracking.model
    try:
        version = client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        raise NoModel(
            f"No version of {model} has the alias {alias} in {tracking.tracking_uri(settings)}. "
            "Train one first: siamese train, or siamese demo."
        ) from error
    name = fingerprint(tracking.tracking_uri(settings), model, version.version, version.source)
    folder = settings.data_dir.resolve() / "models" / name
    if not folder.is_dir():
        partial = folder.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{model}/{version.version}", dst_path=str(partial)
        )
        partial.rename(folder)
    verifier = next(iter(sorted(folder.rglob("verifier.json"))), None)
    if verifier is None:
        raise NoModel(f"Version {version.version} of {model} holds no verifier.")
    Verifier.load(verifier.parent)
    key = fingerprint(
        [sha256_of_file(path) for path in sorted(verifier.parent.iterdir())],
        model,
        version.version,
    )
    get_run_logger().info(f"Using {model} version {version.version} ({alias}).")
    return Output(stage=f"{model} version {version.version}", key=key, path=verifier.parent)


@task(name="promote")
def promote(settings: Settings, splits: Output, pairs: Output) -> Verdict | None:
    """Hold the challenger against the champion on the same pairs; promote it when better.

    Returns
    -------
    The verdict; none when the new version is the champion already.
    """
    client = tracking.connect(settings)
    model = settings.tracking.model
    champion, challenger = fetch_model.fn(settings), None
    if "challenger" in client.get_registered_model(model).aliases:
        challenger = fetch_model.fn(settings, "challenger")
    if challenger is None or challenger.key == champion.key:
        get_run_logger().info("There is no challenger: the new version is the champion.")
        return None
    images, table = IMAGES.read(splits / "images.parquet"), read_pairs(pairs, "test")

    def trials_of(output: Output) -> tuple[Trials, Verifier]:
        verifier = Verifier.load(output.path)
        one = settings.model_copy(update={"imaging": verifier.imaging_settings})
        signatures = signature_set(one, images, table)
        vectors = verifier.embed(signatures.canvases)
        return single_trials(table, pair_distances(table, signatures.ids, vectors)), verifier

    old, old_verifier = trials_of(champion)
    new, new_verifier = trials_of(challenger)
    verdict = promotion.judge(
        old,
        new,
        old_verifier.calibration(1),
        new_verifier.calibration(1),
        resamples=settings.policy.bootstrap,
        seed=settings.seed,
    )
    version = client.get_model_version_by_alias(model, "challenger").version
    client.set_model_version_tag(model, version, "verdict", verdict.why)
    if verdict.promote:
        client.set_registered_model_alias(model, "champion", version)
        client.delete_registered_model_alias(model, "challenger")
    get_run_logger().info(verdict.why)
    create_markdown_artifact(markdown=f"## Verdict\n\n{verdict.why}\n", key="promote")
    return verdict
