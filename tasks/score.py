"""Score: a decision on every claim of a folder."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from siamese import claims, scoring
from siamese.config import Settings
from siamese.enrolment import Enrolment, enrolment_folder, read_enrolment
from siamese.files import people_csv, replace_file, write_json, write_text
from siamese.pictures import folder_of
from siamese.tables import CLAIM_DECISIONS, DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage


def enrolment_of(settings: Settings) -> Enrolment:
    """The references that were enrolled in this data folder."""
    return read_enrolment(enrolment_folder(settings.data_dir.resolve()))


def claims_fingerprint(settings: Settings, root: Path) -> str:
    """Content of everything in the claims folder that would be read, and of what is enrolled."""
    return claims.hash_claims(claims.read_claims(root, enrolment_of(settings).writers), root)[1]


@stage(
    "score",
    sections=("policy",),
    outside=lambda parameters: claims_fingerprint(parameters["settings"], parameters["claims_dir"]),
)
def score(work: Work, settings: Settings, model: Output, claims_dir: Path) -> str:
    """``decisions.parquet`` and ``.csv``, one row a claim."""
    verifier = Verifier.load(model.path).under(settings.policy)
    enrolment = enrolment_of(settings)
    found = claims.read_claims(claims_dir, enrolment.writers)
    hashes, fingerprint = claims.hash_claims(found, claims_dir)
    started = work.into / "started_at"
    if not started.is_file():
        write_text(started, datetime.now(UTC).isoformat(timespec="seconds"))
    batch = scoring.Batch(
        root=folder_of(claims_dir),
        hashes=hashes,
        enrolment=enrolment,
        store=settings.data_dir.resolve() / "store",
        ledger=work.into / "shards",
        model_version=model.stage,
        scored_at=datetime.fromisoformat(started.read_text()),
    )
    decisions = scoring.score_claims(
        found, batch, verifier, settings.scoring, work.progress("Claims scored")
    )
    facts = {**work.provenance, "claims_fingerprint": fingerprint, "model": model.stage}
    CLAIM_DECISIONS.write(decisions, work.into / "decisions.parquet", facts)
    with replace_file(work.into / "decisions.csv") as handle:
        handle.write(people_csv(decisions).encode())
    write_json(work.into / "claims.json", {"fingerprint": fingerprint})
    shutil.rmtree(batch.ledger)
    counts = decisions["decision"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in DECISIONS)
    work.log(f"{len(decisions):,} claims: {told}.")
    for row in decisions[decisions["decision"] == "unusable"].head(20).itertuples():
        work.log(f"Claim {row.claim_id!r} is unusable ({row.reason}). {row.reason_detail}")
    return f"## Decisions\n\n{len(decisions):,} claims: {told}.\n"
