"""Report: the decisions as a page that people read."""

from __future__ import annotations

from pathlib import Path

from siamese import report as reporting
from siamese.config import Settings
from siamese.files import read_json
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage

_PAGE = Path(str(reporting.__file__)).parent


@stage("report", sections=(), files=(_PAGE / "report.html", _PAGE / "report.js"))
def report(
    work: Work,
    settings: Settings,  # noqa: ARG001 - every stage takes the settings first
    model: Output,
    scored: Output,
    claims_dir: Path,
) -> str:
    """``report.html``, with ``thumbnails/`` beside it where there are many claims."""
    decisions = CLAIM_DECISIONS.read(scored / "decisions.parquet")
    path = reporting.write_report(
        decisions,
        claims_dir if claims_dir.is_dir() else claims_dir.parent,
        Verifier.load(model.path),
        work.into,
        {
            "Model": model.stage,
            "Claims fingerprint": read_json(scored / "claims.json")["fingerprint"],
            "Code version": work.provenance["code_version"],
            "Scored at": str(decisions["scored_at"].iloc[0]),
        },
    )
    return f"## Report\n\n`{path.name}` shows {len(decisions):,} claims.\n"
