"""Recalibrate: the champion's network with thresholds from a site's own labelled claims."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from prefect.tasks import exponential_backoff

from siamese import recalibration
from siamese.claims import Claim, hash_claims
from siamese.config import Settings
from siamese.files import read_json, write_json
from siamese.imaging import USABLE
from siamese.metrics import Estimate
from siamese.record import picture_facts
from siamese.scoring import Batch, Stores, facts_of
from siamese.store import stack_canvases
from siamese.verifier import Verifier
from tasks import tracking
from tasks.calibrate import REFERENCES
from tasks.register import log_model
from tasks.score import read_claims
from tasks.stage import Output, Work, stage


def _labelled_fingerprint(parameters: dict[str, Any]) -> str:
    verifier = Verifier.load(parameters["model"].path)
    root = Path(parameters["labelled_dir"])
    return hash_claims(read_claims(parameters["settings"], verifier, root), root)[1]


@stage("recalibrate", sections=("policy", "seed"), outside=_labelled_fingerprint)
def recalibrate(work: Work, settings: Settings, model: Output, labelled_dir: Path) -> str:
    """A verifier with its new calibration, and ``figures.json``: the policy before and after."""
    verifier = Verifier.load(model.path)
    claims = read_claims(settings, verifier, labelled_dir)
    for claim in claims:
        recalibration.label_of(claim)
    hashes, fingerprint = hash_claims(claims, labelled_dir)
    store = settings.data_dir.resolve() / "store"
    batch = Batch(labelled_dir, hashes, store, work.into, model.stage, datetime.now(UTC))
    stores = Stores.of(verifier, store)
    known = facts_of(claims, batch, verifier, stores, settings.scoring)
    trials = recalibration.labelled_trials(claims, known, batch, REFERENCES)
    asked = [hashes[c.questioned] for c in claims if c.questioned]
    asked = [image_id for image_id in asked if known.loc[image_id, "quality"] in USABLE]
    facts = stores.canvases.get(asked)
    size = verifier.imaging_settings
    pictures = picture_facts(stack_canvases(facts, size.height, size.width), facts, facts.index)
    made = recalibration.recalibrate(verifier, trials, pictures, settings.policy, settings.seed)
    figures = {"from": model.stage, "labelled_fingerprint": fingerprint, **made.to_dict()}
    provenance = {**verifier.provenance, "recalibration": figures}
    replace(made.verifier, provenance=provenance).save(work.into / "verifier")
    write_json(work.into / "figures.json", figures)
    told = _table(figures, _labels(claims))
    for line in told.splitlines()[4:]:
        work.log(line.strip("| "))
    return told


_WHEN = ("before", "after")


def _labels(claims: list[Claim]) -> str:
    labels = [recalibration.label_of(claim) for claim in claims]
    return f"{labels.count('genuine')} genuine and {labels.count('forged')} forged claims"


def _table(figures: dict[str, Any], labels: str) -> str:
    titles = {
        "policy_far_skilled": "skilled forgeries accepted",
        "policy_frr": "genuine rejected",
        "review": "sent to review",
    }
    rows = "\n".join(
        f"| {title} | {' | '.join(str(Estimate(**figures[when][name])) for when in _WHEN)} |"
        for name, title in titles.items()
    )
    return (
        f"## Recalibrated from {figures['from']} on {labels}\n\n"
        "| at the policy | before | after, each writer left out |\n| --- | --- | --- |\n"
        f"{rows}\n"
    )


@stage(
    "register_recalibrated",
    sections=("tracking",),
    besides=(tracking,),
    outside=lambda parameters: tracking.registry_fingerprint(parameters["settings"]),
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_condition_fn=tracking.server_away,
)
def register_recalibrated(
    work: Work, settings: Settings, model: Output, recalibrated: Output
) -> str:
    """A new version of the model, with its lineage; it becomes champion."""
    client = tracking.connect(settings)
    name = settings.tracking.model
    figures = read_json(recalibrated / "figures.json")
    told = (recalibrated / "summary.md").read_text()
    with tracking.run_of(
        client,
        work.into / "run.json",
        f"recalibrate-{recalibrated.key[:8]}",
        tracking.parameters(settings),
    ) as run_id:
        for when in ("before", "after"):
            for figure, value in figures[when].items():
                mlflow.log_metric(f"{when}_{figure}", value["value"])
        mlflow.log_artifact(str(recalibrated / "figures.json"))
        left = client.search_model_versions(f"run_id = '{run_id}'")
        version = str(left[0].version) if left else log_model(recalibrated / "verifier", name)
    client.update_model_version(name, version, told)
    for tag, value in {
        "recalibrated_from": figures["from"],
        "labelled_fingerprint": figures["labelled_fingerprint"],
        "data_fingerprint": Verifier.load(model.path).provenance.get("data_fingerprint", ""),
    }.items():
        client.set_model_version_tag(name, version, tag, value)
    client.set_registered_model_alias(name, "champion", version)
    work.log(f"Registered {name} version {version}, from {figures['from']}; it is the champion.")
    write_json(
        work.into / "registered.json",
        {"model": name, "version": version, "alias": "champion", "run_id": run_id},
    )
    return f"## Registered\n\n`{name}` version {version}, champion.\n\n{told}"
