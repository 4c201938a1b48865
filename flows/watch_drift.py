"""The last days' claims against what the champion was calibrated on."""

from prefect import flow

from siamese.config import Settings
from siamese.loading import load_settings
from tasks.champion import fetch_model
from tasks.notify import notify
from tasks.watch import watch


@flow(
    name="watch-drift",
    timeout_seconds=3600,
    on_completion=[notify],
    on_failure=[notify],
    on_crashed=[notify],
)
def watch_drift(settings: Settings | None = None) -> str:
    """Say whether they look alike; no claims is no drift."""
    settings = settings or load_settings()
    return watch(settings, fetch_model(settings))
