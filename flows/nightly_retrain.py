"""Every night: train a challenger, hold it against the champion, promote it when better.

Flow files keep their annotations as they are (no ``from __future__ import annotations``): a
Prefect runner loads them by path and could not resolve annotations that are text.
"""

from prefect import flow

from flows.train_and_register import train_and_register
from siamese.config import Settings
from siamese.loading import load_settings
from tasks.champion import promote
from tasks.notify import notify
from tasks.tonight import tonight


@flow(
    name="nightly-retrain",
    timeout_seconds=12 * 3600,
    on_completion=[notify],
    on_failure=[notify],
    on_crashed=[notify],
)
def nightly_retrain(settings: Settings | None = None) -> str:
    """Train on what is there now; a night with nothing new is all cache hits."""
    settings = tonight(settings or load_settings())
    made = train_and_register(settings)
    return promote(settings, made.data.splits, made.data.pairs, made.registered)
