"""Champion: fetch a registered version, and promote a challenger when it is better."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect import get_run_logger, task

from siamese import promotion
from siamese.addresses import without_password
from siamese.config import Settings
from siamese.errors import RunError
from siamese.files import fingerprint, read_json, sha256_of_file
from siamese.imaging import USABLE
from siamese.preparing import canvas_store, imaging_fingerprint, prepare_files
from siamese.tables import IMAGES
from siamese.trials import Trials, pair_distances, single_trials
from siamese.verifier import Verifier, VerifierError
from tasks import tracking
from tasks.pairs import read_pairs
from tasks.signatures import as_decided, files_of, named_in, near_hands_of, signature_set
from tasks.stage import Output, tell

_FACTS = "verifier.json"


class NoModel(RunError):
    """There is no such model version; the message says how to get one."""


class TamperedModel(RunError):
    """What is fetched is not what was registered; nothing is decided or promoted by it."""


@task(name="fetch_model", **tracking.ASKING)
def fetch_model(settings: Settings) -> Output:
    """The champion's files, downloaded once and named by content.

    Raises
    ------
    NoModel : nothing is registered as champion.
    VerifierError : what is registered cannot be read by this version of the program.
    """
    client = tracking.connect(settings)
    model = settings.tracking.model
    try:
        version = str(client.get_model_version_by_alias(model, "champion").version)
    except MlflowException as error:
        if error.error_code not in tracking.NOT_THERE:
            raise
        raise NoModel(
            f"No version of {model} has the alias champion in "
            f"{without_password(tracking.tracking_uri(settings))}. "
            "Train one first: siamese train, or siamese demo."
        ) from error
    output = version_files(settings, version)
    trained_with = Verifier.load(output.path)
    log = get_run_logger()
    imaging = imaging_fingerprint(trained_with.imaging_settings)
    if trained_with.provenance.get("imaging_fingerprint") != imaging:
        log.warning(
            f"The imaging code has changed since {model} version {version} was trained, so its "
            "figures may not hold. Train a new one: siamese retrain."
        )
    log.info(f"Using {model} version {version}, the champion.")
    return output


def recalibrated_from(settings: Settings, model: Output) -> Output:
    """The version that a recalibrated one came from; any other itself.

    Recalibrating again starts there: the labelled claims may be the same.
    """
    found = Verifier.load(model.path).provenance.get("recalibration")
    return version_files(settings, found["from"].rpartition(" ")[2]) if found else model


@task(name="make_champion", **tracking.ASKING)
def make_champion(settings: Settings, registered: Output) -> Output:
    """Point the alias at a registered version, whatever it points at now; returns that version."""
    version = str(read_json(registered / "registered.json")["version"])
    client = tracking.connect(settings)
    tracking.set_champion(client, settings.tracking.model, version, "Recalibrated.")
    return registered


def version_files(settings: Settings, version: str) -> Output:
    """The files of one registered version."""
    model = settings.tracking.model
    registered = tracking.connect(settings).get_model_version(model, version)
    name = fingerprint(tracking.tracking_uri(settings), model, version, registered.source)
    folder = settings.data_dir.resolve() / "models" / name
    told = registered.tags.get("verifier_sha256")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):  # workers may share the folder
        verifier = _whole(folder, told)
        if verifier is None:  # the copy here, if there is one, may be what is wrong
            partial = folder.with_name(f".{name}.partial")
            for old in (partial, folder):
                shutil.rmtree(old, ignore_errors=True)
            partial.mkdir()
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{model}/{version}", dst_path=str(partial)
            )
            if next(partial.rglob(_FACTS), None) is None:
                raise NoModel(
                    f"Version {version} of {model} has no verifier in {registered.source}. Was "
                    "the data folder moved? Move it back, or train anew: siamese retrain."
                )
            fetched = _whole(partial, told)
            if fetched is None:
                raise TamperedModel(
                    f"The files of {model} version {version} are not those that were registered. "
                    f"Look at who can write to {registered.source}."
                )
            partial.rename(folder)
            verifier = folder / fetched.relative_to(partial)
        files = [sha256_of_file(path) for path in sorted(verifier.iterdir())]
        os.utime(folder)  # used now: see siamese.retention
    key = fingerprint(files, model, version)
    return Output(stage=f"{model} version {version}", key=key, path=verifier)


def _whole(folder: Path, told: str | None) -> Path | None:
    """The verifier in a copy of a version, if all of it is as it was registered.

    Parameters
    ----------
    told : sha256 of its list of checksums, where the registry has one.
    """
    facts = next(folder.rglob(_FACTS), None)
    try:
        if facts is None or told not in (None, sha256_of_file(facts)):
            return None
        listed = read_json(facts)["sha256"].items()
        return (
            facts.parent
            if all(sha256_of_file(facts.parent / Path(one).name) == sha for one, sha in listed)
            else None
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


@task(name="promote", **tracking.ASKING)
def promote(settings: Settings, splits: Output, pairs: Output, registered: Output) -> str:
    """Hold this run's version against the champion, and promote it when it is better.

    Both are compared on the same pairs of calibration writers: test writers are for the
    figures alone. Writers that the champion was trained on are left out.

    Returns
    -------
    A sentence that says what was done, and why.
    """
    return tell("promote", "Verdict", _judged(settings, splits, pairs, registered))


def _judged(settings: Settings, splits: Output, pairs: Output, registered: Output) -> str:
    client = tracking.connect(settings)
    model = settings.tracking.model
    version = str(read_json(registered / "registered.json")["version"])
    champion = tracking.champion_of(client, model)
    if settled := _settled(settings, client, version, champion, registered):
        return settled
    if not champion:  # it was deleted
        return _promoted(settings, version, "Promoted: there was no champion.")
    invented = all(source.kind == "synthetic" for source in settings.sources)
    try:
        old = Verifier.load(version_files(settings, champion).path)
    except VerifierError as error:
        why = f"the champion cannot be read. {error}"
        told = "" if invented else _promoted(settings, version, f"Promoted: {why}")
        by_hand = f"siamese rollback {version} makes it the champion."
        return told or f"Not promoted, for its signatures are invented: {by_hand} But {why}"
    new = Verifier.load(version_files(settings, version).path)
    images, table = IMAGES.read(splits / "images.parquet"), read_pairs(pairs, "calibration")
    table = table[_usable(settings, old, images, table)]
    known = set(old.provenance.get("training_writers", []))
    table = table[~table["writer"].isin(known) & ~table["questioned_writer"].isin(known)]
    own = {source.label for source in settings.sources} | {"synthetic"} if invented else None
    if refused := promotion.incomparable(table, known, own):
        return refused
    verdict = promotion.judge(
        _trials(settings, old, images, table),
        _trials(settings, new, images, table),
        policy=settings.policy,
        seed=settings.seed,
    )
    if tracking.champion_of(client, model) != champion:  # meanwhile; an analyst's, perhaps
        return _judged(settings, splits, pairs, registered)
    if verdict.promote:
        lost = old.provenance.get("recalibration")
        notice = (
            f" The champion before it was recalibrated on {lost['claims']} labelled claims, and "
            "this one is not: siamese recalibrate does it again."
            if lost
            else ""
        )
        told = _promoted(settings, version, verdict.why + notice)
    else:
        told = verdict.why
        client.set_model_version_tag(model, version, "verdict", told)
    # Last: what was cut off before is judged again.
    client.set_model_version_tag(model, version, "judged_against", champion)
    return told


def _usable(
    settings: Settings, verifier: Verifier, images: pd.DataFrame, table: pd.DataFrame
) -> pd.Series:
    """Which pairs can be compared as this verifier makes its canvases."""
    own = verifier.imaging_settings
    store = canvas_store(settings.data_dir.resolve() / "store", own)
    facts = prepare_files(
        files_of(named_in(table, images)), own, store, workers=settings.scoring.workers
    )
    good = facts.index[facts["quality"].isin(USABLE)]
    return table["reference_id"].isin(good) & table["questioned_id"].isin(good)


def _trials(
    settings: Settings, verifier: Verifier, images: pd.DataFrame, table: pd.DataFrame
) -> Trials:
    """One verifier's distances on the pairs, on canvases made as it was trained."""
    own = settings.model_copy(update={"imaging": verifier.imaging_settings})
    signatures = signature_set(own, images, table)
    vectors: np.ndarray = verifier.embed(signatures.canvases)
    near = near_hands_of(signatures, vectors, images)
    single = single_trials(table, pair_distances(table, signatures.ids, vectors))
    return as_decided(single, near, verifier.near_hands, images)


def _settled(
    settings: Settings, client: MlflowClient, version: str, champion: str, registered: Output
) -> str:
    """The sentence where nothing is left to compare; empty where the two are to be compared."""
    model, limit = settings.tracking.model, settings.schedule.max_age_days
    try:
        tags = client.get_model_version(model, version).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        shutil.rmtree(registered.path)  # so that it is registered anew
        raise NoModel(
            f"Version {version} of {model} was deleted from the registry. Run the same again: it "
            "is registered anew."
        ) from error
    if version == champion and "verdict" not in tags:
        why = f"Version {version} is the first, and the champion."
        client.set_model_version_tag(model, version, "verdict", why)
        return why
    again = f", and it is not older than {limit} days" if limit else ""
    skipped = f"Skipped: data, settings and code are those of version {version}{again}."
    if version == champion:
        return f"{skipped} It is the champion."
    undone = {entry.get("instead_of") for entry in tracking.champion_history(client, model)}
    if version in undone:
        return (
            f"{skipped} It was the champion and was rolled back from; siamese rollback {version} "
            "makes it the champion again."
        )
    return f"{skipped} {tags['verdict']}" if tags.get("judged_against") == champion else ""


def _promoted(settings: Settings, version: str, why: str) -> str:
    client = tracking.connect(settings)
    model = settings.tracking.model
    client.set_model_version_tag(model, version, "verdict", why)
    tracking.set_champion(client, model, version, why)
    if str(client.get_registered_model(model).aliases.get("challenger")) == version:
        client.delete_registered_model_alias(model, "challenger")
    return why
