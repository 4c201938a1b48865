"""A folder of claims to decisions and a report."""

from pathlib import Path

from prefect import flow
from pydantic import BaseModel

from siamese.config import Settings
from siamese.loading import load_settings
from tasks.champion import fetch_model
from tasks.report import report
from tasks.score import score
from tasks.stage import Output


class ScoredClaims(BaseModel):
    """Where the decisions and the report are."""

    decisions: Output
    report: Output


@flow(name="score-claims")
def score_claims(claims_dir: Path, settings: Settings | None = None) -> ScoredClaims:
    """Decide on every claim with the champion, and write the report."""
    settings = settings or load_settings()
    champion = fetch_model(settings)
    decisions = score(settings, champion, claims_dir)
    return ScoredClaims(
        decisions=decisions, report=report(settings, champion, decisions, claims_dir)
    )
