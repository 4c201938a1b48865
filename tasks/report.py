"""Report: the decisions as a page that people read."""

from __future__ import annotations

from pathlib import Path

from siamese import report as reporting
from siamese.config import Settings
from siamese.drift import Shift
from siamese.files import read_json
from siamese.pictures import folder_of
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks.score import enrolment_of
from tasks.stage import Output, Work, stage

_DISTANCES = (
    "as they are",
    "multiplied by {stretch:.2f}, as different people's signatures lie nearer to each other here "
    "than where the thresholds come from",
)
_PAGE = Path(str(reporting.__file__)).parent


@stage("report", sections=("policy",), files=(_PAGE / "report.html", _PAGE / "report.js"))
def report(
    work: Work,
    settings: Settings,
    model: Output,
    scored: Output,
    explained: Output,
    drifted: Output,
    claims_dir: Path,
) -> str:
    """``report.html``, with ``thumbnails/`` beside it where there are many claims."""
    decisions = scored / "decisions.parquet"
    scored_at = CLAIM_DECISIONS.columns(decisions, ["scored_at"])["scored_at"]
    verifier = Verifier.load(model.path).under(settings.policy)
    claims = read_json(scored / "claims.json")
    findings = reporting.Findings(
        explanations=explained / "explanations.parquet",
        shifts=[Shift(**one) for one in read_json(drifted / "drift.json")],
        enrolled=enrolment_of(settings).files,
        provenance={
            "Model": model.stage,
            "Claims fingerprint": claims["fingerprint"],
            "Code version": work.provenance["code_version"],
            "Scored at": str(scored_at.iloc[0]),
            "Distances": _DISTANCES[claims["stretch"] > 1].format(**claims),
        },
    )
    path = reporting.write_report(
        decisions,
        folder_of(claims_dir),
        verifier,
        findings,
        work.into,
        workers=settings.scoring.workers,
        progress=work.progress("Claims in the report"),
    )
    return f"## Report\n\n`{path.name}` shows {len(scored_at):,} claims.\n"
