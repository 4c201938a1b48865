"""Score a claims folder with the library alone: ``score_folder.py CLAIMS MODEL WORK``.

A process for a test to kill. The date is fixed, so that two runs can be compared to the byte.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from siamese.claims import hash_claims, read_claims
from siamese.config import ScoringSettings
from siamese.enrolment import read_enrolment
from siamese.scoring import Batch, score_claims
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier


def main(root: Path, model: Path, work: Path) -> None:
    claims = read_claims(root)
    hashes, _ = hash_claims(claims, root)
    when = datetime(2026, 1, 2, tzinfo=UTC)
    enrolment = read_enrolment(work / "enrolled")
    batch = Batch(root, hashes, enrolment, work / "store", work / "ledger", "model version 1", when)
    print("begun", flush=True)
    settings = ScoringSettings(shard=4, workers=1)
    decisions = score_claims(claims, batch, Verifier.load(model), settings)
    CLAIM_DECISIONS.write(decisions, work / "decisions.parquet", {})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
