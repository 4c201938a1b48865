"""An earlier champion again."""

from prefect import flow

from siamese.config import Settings
from tasks.rollback import rollback


@flow(name="roll-back")
def roll_back(settings: Settings, version: str = "") -> str:
    """Undo the latest promotion, or go to a version by its number."""
    return rollback(settings, version)
