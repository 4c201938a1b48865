"""Example claims: a folder as an analyst would have it, by writers that no model has seen."""

from __future__ import annotations

from siamese.config import Settings
from siamese.sources import synthetic
from tasks.stage import Work, stage


@stage("example_claims", sections=("seed",))
def example_claims(work: Work, settings: Settings) -> str:
    """``claims/`` with genuine, forged and faulty claims; ``truth.csv`` beside it."""
    made = synthetic.write_claims(work.into, settings.seed)
    return f"## Example claims\n\n{made} claims, some of them faulty on purpose.\n"
