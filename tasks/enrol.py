"""Enrol: references of writers, kept for claims to come."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from siamese import enrolment
from siamese.config import Settings


@task(name="enrol")
def enrol(settings: Settings, references_dir: Path) -> pd.DataFrame:
    """One row a reference, with its outcome; see :func:`siamese.enrolment.enrol`."""
    outcomes = enrolment.enrol(
        enrolment.read_references(references_dir),
        settings.imaging,
        settings.data_dir.resolve() / "store",
        enrolment.enrolment_folder(settings.data_dir.resolve()),
        datetime.now(UTC),
        workers=settings.scoring.workers,
    )
    counts = outcomes["outcome"].value_counts()
    told = ", ".join(f"{n} {name}" for name, n in counts.items())
    get_run_logger().info(f"{outcomes['writer_id'].nunique():,} writers, references: {told}.")
    create_markdown_artifact(markdown=f"## Enrolled\n\n{told}\n", key="enrol")
    return outcomes
