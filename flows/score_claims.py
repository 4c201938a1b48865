"""A folder of claims to decisions and a report."""

from pathlib import Path

from prefect import flow
from pydantic import BaseModel

from flows.embed_on_cluster import embed_on_cluster
from siamese.config import Settings
from siamese.loading import load_settings
from tasks.champion import fetch_model
from tasks.drift import drift
from tasks.explain import explain
from tasks.report import report
from tasks.score import score
from tasks.stage import Output


class ScoredClaims(BaseModel):
    """Where the decisions and the report are."""

    decisions: Output
    report: Output


@flow(name="score-claims", timeout_seconds=24 * 3600)
def score_claims(claims_dir: Path, settings: Settings | None = None) -> ScoredClaims:
    """Decide on every claim with the champion, say where signatures differ, write the report."""
    settings = settings or load_settings()
    champion = fetch_model(settings)
    if settings.scoring.cluster:
        embed_on_cluster(settings, champion, claims_dir)
    decisions = score(settings, champion, claims_dir)
    explained = explain(settings, champion, decisions)
    drifted = drift(settings, champion, decisions)
    page = report(settings, champion, decisions, explained, drifted, claims_dir)
    return ScoredClaims(decisions=decisions, report=page)
