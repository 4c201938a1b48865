"""Sources to pairs: ingest, audit and prepare, split by writer, build pairs."""

from prefect import flow
from pydantic import BaseModel

from siamese.config import Settings
from tasks.audit import audit
from tasks.ingest import ingest
from tasks.pairs import pairs
from tasks.prepare import prepare
from tasks.split import split
from tasks.stage import Output


class PreparedData(BaseModel):
    """What training needs: writers by split, and their pairs."""

    splits: Output
    pairs: Output


@flow(name="prepare-data")
def prepare_data(settings: Settings) -> PreparedData:
    """Get the signatures, look for faults, and build pairs that leak nothing."""
    ingested = ingest(settings)
    audited = audit.submit(settings, ingested)
    prepared = prepare.submit(settings, ingested)
    splits = split(settings, ingested, audited.result(), prepared.result())
    return PreparedData(splits=splits, pairs=pairs(settings, splits))
