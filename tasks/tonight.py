"""Tonight: what the nightly retraining takes into account besides its settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect import get_run_logger, task

from siamese.config import Settings, SourceSettings
from tasks import tracking
from tasks.feedback import feedback_folder


@task(name="tonight", **tracking.ASKING)
def tonight(settings: Settings) -> Settings:
    """The settings with the analysts' feedback as a source, and with its turn of training.

    The turn is that of the newest trained version, so that a night with nothing new finds all
    of its work done; once that version is older than ``schedule.max_age_days`` it is the next
    turn, and the same data is trained on again. Killed and started again, it is the same turn.
    """
    log = get_run_logger()
    signatures = feedback_folder(settings) / "signatures.csv"
    sources = settings.sources
    known = {s.label for s in sources} | {s.path.resolve() for s in sources if s.path}
    if signatures.is_file() and not {"feedback", signatures.resolve()} & known:
        sources = (*sources, SourceSettings(kind="manifest", name="feedback", path=signatures))
        log.info(f"With the analysts' feedback in {signatures}.")
    turn, made = _newest(settings)
    limit = timedelta(days=settings.schedule.max_age_days)
    if made and limit and datetime.now(UTC) - made > limit:
        turn += 1
        log.info(
            f"The newest model is of {made:%Y-%m-%d}, older than schedule.max_age_days "
            f"({limit.days}): training again, turn {turn}."
        )
    training = settings.training.model_copy(update={"turn": turn})
    return settings.model_copy(update={"sources": sources, "training": training})


def _newest(settings: Settings) -> tuple[int, datetime | None]:
    """Turn and time of the newest version that was trained; a recalibration is none."""
    client = tracking.connect(settings)
    versions = client.search_model_versions(f"name = '{settings.tracking.model}'")
    trained = [one for one in versions if tracking.TURN in one.tags]
    if not trained:
        return settings.training.turn, None
    newest = max(trained, key=lambda one: int(one.version))
    made = datetime.fromtimestamp(newest.creation_timestamp / 1000, UTC)
    return int(newest.tags[tracking.TURN]), made
