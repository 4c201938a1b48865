"""The whole system on invented signatures: data, training, registry, claims, report."""

from prefect import flow
from pydantic import BaseModel

from flows.score_claims import ScoredClaims, score_claims
from flows.train_and_register import TrainedModel, train_and_register
from siamese.config import Settings
from tasks.example_claims import example_claims


class Demonstrated(BaseModel):
    """What the demo made."""

    trained: TrainedModel
    scored: ScoredClaims


@flow(name="demo")
def demo(settings: Settings) -> Demonstrated:
    """Synthetic signatures to a registered champion to a report on a folder of claims."""
    trained = train_and_register(settings)
    claims = example_claims(settings)
    return Demonstrated(trained=trained, scored=score_claims(claims.path / "claims", settings))
