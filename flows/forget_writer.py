"""A writer forgotten."""

from prefect import flow

from siamese.config import Settings
from tasks.forget import forget


@flow(name="forget-writer")
def forget_writer(settings: Settings, writer: str) -> list[str]:
    """Remove what is kept of a writer, and say which models were trained on them."""
    return forget(settings, writer)
