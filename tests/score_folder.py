"""Score a claims folder with the library alone, in processes for a test to kill.

``score_folder.py CLAIMS MODEL`` imports everything once; for each line with a folder on its
input it forks a process that scores into that folder, writes the process's id, and when that has
ended its exit status. The date is fixed, so that two runs can be compared to the byte.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from siamese.config import ScoringSettings
from siamese.enrolment import read_enrolment
from siamese.intake import read_claims
from siamese.scoring import Batch, score_claims
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier


def score(root: Path, model: Path, work: Path) -> None:
    claims = read_claims(root)
    when = datetime(2026, 1, 2, tzinfo=UTC)
    enrolment = read_enrolment(work / "enrolled")
    store, ledger = work / "store", work / "ledger"
    batch = Batch(root, enrolment, store, ledger, "model version 1", when)
    settings = ScoringSettings(shard=4, workers=1)
    # Nothing of the ledger is there before it is known how near hands lie, and most of so small a
    # folder would be killed before that.
    verifier = replace(Verifier.load(model), near_hands=0.0)
    decisions = score_claims(claims, batch, verifier, settings)
    CLAIM_DECISIONS.write(decisions, work / "decisions.parquet", {})


def main(root: Path, model: Path) -> None:
    for line in sys.stdin:
        child = os.fork()  # before torch has started a thread
        if child == 0:
            score(root, model, Path(line.strip()))
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
