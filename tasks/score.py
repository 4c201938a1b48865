"""Score: a decision on every claim of a folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from siamese import claims, scoring
from siamese.config import Settings
from siamese.files import replace_file, write_json, write_text
from siamese.tables import CLAIM_DECISIONS, DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage


def _claims_fingerprint(parameters: dict[str, Any]) -> str:
    """Content of everything in the claims folder that would be read."""
    root = Path(parameters["claims_dir"])
    return claims.hash_claims(claims.read_claims(root), root)[1]


@stage("score", sections=(), outside=_claims_fingerprint)
def score(work: Work, settings: Settings, model: Output, claims_dir: Path) -> str:
    """``decisions.parquet`` and ``.csv``, one row a claim."""
    found = claims.read_claims(claims_dir)
    hashes, fingerprint = claims.hash_claims(found, claims_dir)
    started = work.into / "started_at"
    if not started.is_file():
        write_text(started, datetime.now(UTC).isoformat(timespec="seconds"))
    decisions = scoring.score_claims(
        found,
        hashes,
        Verifier.load(model.path),
        settings.data_dir.resolve() / "store",
        settings.scoring,
        root=claims_dir if claims_dir.is_dir() else claims_dir.parent,
        model_version=model.stage,
        scored_at=datetime.fromisoformat(started.read_text()),
        progress=work.progress("Claims scored"),
    )
    facts = {**work.provenance, "claims_fingerprint": fingerprint, "model": model.stage}
    CLAIM_DECISIONS.write(decisions, work.into / "decisions.parquet", facts)
    with replace_file(work.into / "decisions.csv") as handle:
        handle.write(decisions.to_csv(index=False).encode())
    write_json(work.into / "claims.json", {"fingerprint": fingerprint})
    counts = decisions["decision"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in DECISIONS)
    work.log(f"{len(decisions):,} claims: {told}.")
    for row in decisions[decisions["decision"] == "unusable"].head(20).itertuples():
        work.log(f"Claim {row.claim_id!r} is unusable ({row.reason}). {row.reason_detail}")
    return f"## Decisions\n\n{len(decisions):,} claims: {told}.\n"
