"""Reference signatures of writers, enrolled.

Annotations stay as they are, for Prefect; see ``nightly_retrain``.
"""

from pathlib import Path

import pandas as pd
from prefect import flow

from siamese.config import Settings
from tasks.enrol import enrol


@flow(name="enrol-references")
def enrol_references(settings: Settings, references_dir: Path) -> pd.DataFrame:
    """Keep each writer's references, so that later claims need no picture of them."""
    return enrol(settings, references_dir)
