"""Recalibrate: the champion's network with thresholds from a site's own labelled claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow

from siamese import recalibration
from siamese.claims import hash_claims
from siamese.config import Settings
from siamese.files import read_json, write_json
from siamese.intervals import Estimate
from siamese.preparing import prepare_files
from siamese.record import stored_facts
from siamese.scoring import Stores, files_of, near_references, with_vectors
from siamese.trials import Trials
from siamese.verifier import Verifier
from tasks import tracking
from tasks.calibrate import REFERENCES
from tasks.register import REGISTERING, log_model, verifier_sha256
from tasks.score import claims_fingerprint, claims_of, enrolment_of
from tasks.stage import Output, Work, stage


@stage(
    "recalibrate",
    sections=("policy", "seed"),
    outside=lambda parameters: claims_fingerprint(
        parameters["settings"], parameters["labelled_dir"]
    ),
)
def recalibrate(work: Work, settings: Settings, model: Output, labelled_dir: Path) -> str:
    """A verifier with its new calibration, and ``figures.json``: the policy before and after."""
    verifier = Verifier.load(model.path)
    enrolment = enrolment_of(settings)
    claims = claims_of(settings, labelled_dir, enrolment)
    hashes = hash_claims(claims)
    store = settings.data_dir.resolve() / "store"
    stores = Stores.of(verifier, store)
    facts = prepare_files(
        files_of(claims, hashes, enrolment.files),
        verifier.imaging_settings,
        stores.canvases,
        workers=settings.scoring.workers,
    )
    known = with_vectors(facts, verifier, stores)
    trials, left_out = recalibration.labelled_trials(claims, known, hashes, REFERENCES)
    genuine = [one.of("genuine") for one in trials[:1]]
    asked = {i: w for one in genuine for i, w in zip(one.questioned, one.writer, strict=True)}
    pictures = stored_facts(stores.canvases, verifier.imaging_settings, asked)
    made = recalibration.recalibrate(
        verifier,
        trials,
        near_references(claims, hashes, known),
        pictures,
        settings.policy,
        settings.seed,
    )
    figures = {
        "from": model.stage,
        "policy": str(settings.policy.at(None)),
        "labelled_fingerprint": work.outside,
        **made.to_dict(),
    }
    provenance = {**verifier.provenance, "recalibration": figures}
    replace(made.verifier, provenance=provenance).save(work.into / "verifier")
    told = {"data_fingerprint": verifier.provenance.get("data_fingerprint", "")}
    write_json(work.into / "figures.json", {**figures, **told, "left_out": left_out})
    for name, why in left_out.items():
        work.log(f"Labelled claim {name!r} was not used: {why}")
    return _table(figures, trials[0], left_out)


def _table(figures: dict[str, Any], trials: Trials, left_out: dict[str, str]) -> str:
    titles = {
        "policy_far_skilled": "skilled forgeries accepted",
        "policy_frr": "genuine rejected",
        "review": "sent to review",
    }

    def cell(when: str, name: str) -> str:
        found = figures[when].get(name)
        return str(Estimate(**found)) if found else "not measured"

    genuine = int(trials.label.sum())
    forged = len(trials.label) - genuine
    lines = [
        f"## Recalibrated from {figures['from']} on {genuine} genuine and {forged} forged claims",
        "",
        f"At {figures['policy']}, with one reference:",
        "",
        "| | before | after, each writer left out |",
        "| --- | --- | --- |",
        *(f"| {t} | {cell('before', n)} | {cell('after', n)} |" for n, t in titles.items()),
    ]
    if left_out:
        lines += ["", f"{len(left_out)} labelled claims could not be used."]
    return "\n".join(lines) + "\n"


@stage("register_recalibrated", **REGISTERING)
def register_recalibrated(work: Work, settings: Settings, recalibrated: Output) -> str:
    """A new version of the model, with its lineage."""
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
        "verifier_sha256": verifier_sha256(recalibrated / "verifier"),
        "data_fingerprint": figures["data_fingerprint"],
    }.items():
        client.set_model_version_tag(name, version, tag, value)
    work.log(f"Registered {name} version {version}, from {figures['from']}.")
    write_json(
        work.into / "registered.json",
        {
            "registry": work.outside,
            "model": name,
            "version": version,
            "alias": "champion",
            "run_id": run_id,
            "left_out": figures["left_out"],
        },
    )
    return f"## Registered\n\n`{name}` version {version}.\n\n{told}"
