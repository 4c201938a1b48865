"""Drift: does this batch look like what the model was calibrated on?"""

from __future__ import annotations

from dataclasses import asdict

from siamese import drift as drifting
from siamese.config import Settings
from siamese.files import write_json
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage


@stage("drift", sections=("seed",))
def drift(work: Work, settings: Settings, model: Output, scored: Output) -> str:
    """``drift.json``: a two-sample test of the distances and of each picture statistic."""
    shifts = drifting.of_batch(
        CLAIM_DECISIONS.columns(scored / "decisions.parquet", drifting.COLUMNS),
        Verifier.load(model.path),
        settings.data_dir.resolve() / "store",
        settings.seed,
    )
    write_json(work.into / "drift.json", [asdict(shift) for shift in shifts])
    for shift in shifts:
        if shift.alarm:
            work.log(f"Unlike the calibration data: {shift.title} (D {shift.distance:.2f}).")
    rows = "\n".join(
        f"| {s.title} | {s.n:,} | {s.distance:.2f} | {s.p_value:.3f} | "
        f"{'unlike' if s.alarm else 'alike'} |"
        for s in shifts
    )
    return f"## Drift\n\n| what | n | D | p | |\n| --- | --- | --- | --- | --- |\n{rows}\n"
