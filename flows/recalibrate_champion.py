"""A site's labelled claims to a recalibrated champion."""

from pathlib import Path

from prefect import flow

from siamese.config import Settings
from tasks.champion import fetch_model, make_champion, recalibrated_from
from tasks.recalibrate import recalibrate, register_recalibrated
from tasks.stage import Output


@flow(name="recalibrate-champion")
def recalibrate_champion(settings: Settings, labelled_dir: Path) -> Output:
    """Fit threshold and calibration on labelled claims, and register them as a new version."""
    base = recalibrated_from(settings, fetch_model(settings))
    recalibrated = recalibrate(settings, base, labelled_dir)
    return make_champion(settings, register_recalibrated(settings, recalibrated))
