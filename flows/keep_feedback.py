"""Analysts' verdicts on a folder of claims, kept."""

from pathlib import Path

import pandas as pd
from prefect import flow

from siamese.config import Settings
from tasks.feedback import feedback


@flow(name="keep-feedback")
def keep_feedback(settings: Settings, claims_dir: Path, verdicts: Path) -> pd.DataFrame:
    """Keep labelled claims, and the same signatures as a training source."""
    return feedback(settings, claims_dir, verdicts)
