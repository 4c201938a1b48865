"""Feedback: analysts' verdicts, kept to recalibrate on and to train on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from filelock import FileLock
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from siamese import feedback as keeping
from siamese.claims import hash_claims
from siamese.config import Settings
from tasks.score import claims_of, enrolment_of


def feedback_folder(settings: Settings) -> Path:
    """Where verdicts are kept."""
    return settings.data_dir.resolve() / "feedback"


def lock_of_feedback(folder: Path) -> FileLock:
    """Held by whoever writes to it: two analysts at once, or one who forgets."""
    return FileLock(folder / ".lock")


@task(name="feedback")
def feedback(settings: Settings, claims_dir: Path, verdicts: Path) -> pd.DataFrame:
    """One row a verdict, with its outcome; see :func:`siamese.feedback.keep`."""
    said = keeping.read_verdicts(verdicts)
    claims = claims_of(settings, claims_dir, enrolment_of(settings))
    ids = hash_claims(claims)
    folder = feedback_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_of_feedback(folder):
        outcomes = keeping.keep(
            claims, ids, said, settings.imaging, folder, workers=settings.scoring.workers
        )
    counts = outcomes["outcome"].value_counts()
    told = ", ".join(f"{n} {name}" for name, n in counts.items())
    get_run_logger().info(f"{len(outcomes):,} verdicts: {told}.")
    create_markdown_artifact(markdown=f"## Feedback\n\n{told}\n", key="feedback")
    return outcomes
