"""The retention policy, applied."""

from prefect import flow

from siamese.config import Settings
from siamese.loading import load_settings
from tasks.prune import prune


@flow(name="prune-old")
def prune_old(settings: Settings | None = None, dry_run: bool = False) -> list[str]:
    """Remove old challengers and what nothing has used; or only say what would go."""
    return prune(settings or load_settings(), dry_run)
