"""A site's labelled claims to a recalibrated champion."""

from pathlib import Path

from prefect import flow

from siamese.config import Settings
from tasks.champion import fetch_model
from tasks.recalibrate import recalibrate, register_recalibrated
from tasks.stage import Output


@flow(name="recalibrate-champion")
def recalibrate_champion(settings: Settings, labelled_dir: Path) -> Output:
    """Fit threshold and calibration on labelled claims, and register them as a new version."""
    champion = fetch_model(settings)
    recalibrated = recalibrate(settings, champion, labelled_dir)
    return register_recalibrated(settings, champion, recalibrated)
