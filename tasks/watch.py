"""Watch: do the claims of the last days look like what the champion was calibrated on?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import mlflow
import pandas as pd
from prefect import task

from siamese import drift
from siamese.config import Settings
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks import tracking
from tasks.stage import Output, tell


@task(name="watch", **tracking.ASKING)
def watch(settings: Settings, model: Output) -> str:
    """Test the champion's decisions of the last ``schedule.drift_days`` days for drift.

    Logs D and its p-value for the distances and each picture statistic to an MLflow run.

    Returns
    -------
    A sentence that says what is unlike the calibration data, and what to do about it.
    """
    return tell("drift-watch", "Drift", _looked(settings, model))


def _looked(settings: Settings, model: Output) -> str:
    since = datetime.now(UTC) - timedelta(days=settings.schedule.drift_days)
    decisions = recent_decisions(settings, model.stage, since)
    days = f"in the last {settings.schedule.drift_days} days"
    if decisions.empty:
        return f"{model.stage} scored no claims {days}."
    store = settings.data_dir.resolve() / "store"
    shifts = drift.of_batch(decisions, Verifier.load(model.path), store, settings.seed)
    if not shifts:
        return f"{model.stage} scored {len(decisions):,} claims {days}: too few to tell."
    alarms = [shift for shift in shifts if shift.alarm]
    tracking.connect(settings)
    with mlflow.start_run(run_name=f"drift-{datetime.now(UTC):%Y-%m-%d}", log_system_metrics=False):
        mlflow.set_tags({"model": model.stage, "since": f"{since:%Y-%m-%d}"})
        mlflow.log_metrics({"drift_alarms": len(alarms), "drift_claims": len(decisions)})
        for shift in shifts:
            mlflow.log_metrics(
                {f"drift_{shift.name}_D": shift.distance, f"drift_{shift.name}_p": shift.p_value}
            )
    told = f"{len(decisions):,} claims that {model.stage} scored {days}"
    if not alarms:
        return f"No drift: {told} look like its calibration data."
    names = "; ".join(f"{shift.title} (D {shift.distance:.2f})" for shift in alarms)
    return (
        f"Drift: {told} are unlike its calibration data in {names}. Its error rates may not hold: "
        "give verdicts on some forty claims, then siamese feedback and siamese recalibrate."
    )


def recent_decisions(settings: Settings, model_version: str, since: datetime) -> pd.DataFrame:
    """All decisions of a model version since some time, a questioned signature once."""
    found = []
    scored = settings.data_dir.resolve() / "stages" / "score"
    for path in sorted(scored.glob("[!.]*/decisions.parquet")):
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since:
            table = CLAIM_DECISIONS.columns(path, (*drift.COLUMNS, "model_version"))
            found.append(table[table["model_version"] == model_version])
    if not found:
        return pd.DataFrame()
    return pd.concat(found, ignore_index=True).drop_duplicates("questioned_id", ignore_index=True)
