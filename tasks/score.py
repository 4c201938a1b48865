"""Score: a decision on every claim of a folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from siamese import scoring
from siamese.claims import Claims, fingerprint_claims
from siamese.config import Settings
from siamese.enrolment import Enrolment, enrolment_folder, read_enrolment
from siamese.files import replace_file, write_json, write_text
from siamese.intake import read_claims
from siamese.pictures import folder_of
from siamese.spreadsheets import people_csv
from siamese.tables import CLAIM_DECISIONS, DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage

_TOLD = 20  # unusable claims in the log; the table has them all


def enrolment_of(settings: Settings) -> Enrolment:
    """The references that were enrolled in this data folder."""
    return read_enrolment(enrolment_folder(settings.data_dir.resolve()))


def claims_fingerprint(settings: Settings, root: Path) -> str:
    """Content of everything in the claims folder that would be read, and of what is enrolled."""
    return fingerprint_claims(claims_of(settings, root, enrolment_of(settings)), folder_of(root))


def claims_of(settings: Settings, root: Path, enrolment: Enrolment) -> Claims:
    """Those of a folder, under the settings for what it may name."""
    return read_claims(root, enrolment.writers, settings.scoring.picture_folders)


@stage(
    "score",
    sections=("policy",),
    outside=lambda parameters: claims_fingerprint(parameters["settings"], parameters["claims_dir"]),
)
def score(work: Work, settings: Settings, model: Output, claims_dir: Path) -> str:
    """``decisions.parquet`` and ``.csv``, one row a claim."""
    verifier = Verifier.load(model.path).under(settings.policy)
    enrolment = enrolment_of(settings)
    found = claims_of(settings, claims_dir, enrolment)
    started = work.into / "started_at"
    if not started.is_file():
        write_text(started, datetime.now(UTC).isoformat(timespec="seconds"))
    batch = scoring.Batch(
        root=folder_of(claims_dir),
        enrolment=enrolment,
        store=settings.data_dir.resolve() / "store",
        ledger=work.into / "shards",
        model_version=model.stage,
        scored_at=datetime.fromisoformat(started.read_text()),
    )
    counts: Counter[str] = Counter()

    def going_by(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The decisions, written as CSV too and counted."""
        with replace_file(work.into / "decisions.csv") as handle:
            for table in tables:
                handle.write(people_csv(table, header=handle.tell() == 0).encode())
                unusable = table[table["decision"] == "unusable"]
                for row in unusable.head(max(_TOLD - counts["unusable"], 0)).itertuples():
                    why = f"({row.reason}). {row.reason_detail}"
                    work.log(f"Claim {row.claim_id!r} is unusable {why}")
                counts.update(table["decision"])
                yield table

    # That of the folder as it was when the run began; each row has the ids of what it is about.
    facts = {**work.provenance, "claims_fingerprint": work.outside, "model": model.stage}
    progress = work.progress("Claims scored")
    with scoring.score_shards(found, batch, verifier, settings.scoring, progress) as scored:
        CLAIM_DECISIONS.write_all(going_by(scored.tables), work.into / "decisions.parquet", facts)
    stretch = scored.stretch
    write_json(work.into / "claims.json", {"fingerprint": work.outside, "stretch": stretch})
    shutil.rmtree(batch.ledger)
    if stretch > 1:
        work.log(
            "Different people's signatures lie nearer to each other in these claims than where "
            f"the thresholds come from, so distances were multiplied by {stretch:.2f}. Whether "
            "that is enough, some labelled claims of your own tell: siamese recalibrate."
        )
    told = ", ".join(f"{counts[name]} {name}" for name in DECISIONS)
    work.log(f"{counts.total():,} claims: {told}.")
    return f"## Decisions\n\n{counts.total():,} claims: {told}.\n"
