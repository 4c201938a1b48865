"""Roll back: an earlier champion again."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from prefect import task

from siamese.config import Settings
from siamese.errors import RunError
from siamese.verifier import Verifier
from tasks import tracking
from tasks.champion import version_files
from tasks.stage import tell


class NothingToRollBack(RunError):
    """There is no version to go back to; the message says why."""


@task(name="rollback", **tracking.ASKING)
def rollback(settings: Settings, version: str = "") -> str:
    """Make the champion before this one, or a version by number, the champion.

    Done twice it is done once: a champion that was rolled back to stays.

    Returns
    -------
    A sentence that says what was done.

    Raises
    ------
    NothingToRollBack : there is no such version, or no champion before this one.
    """
    client = tracking.connect(settings)
    model = settings.tracking.model
    try:
        current = tracking.champion_of(client, model)
        history = tracking.champion_history(client, model)
    except MlflowException as error:
        if error.error_code not in tracking.NOT_THERE:
            raise
        raise NothingToRollBack(f"There is no model {model}.") from error
    if not current and not version:
        raise NothingToRollBack(
            f"{model} has no champion; name the version that shall be: siamese rollback VERSION."
        )
    last = history[-1] if history else {"version": "", "at": "", "instead_of": ""}
    if version == current or (
        not version and last["version"] == current and last.get("instead_of")
    ):
        return tell(
            "rollback",
            "Rollback",
            f"Version {current} is the champion already, since {last['at'] or 'long ago'}.",
        )
    if not version and last.get("instead_of") == current:
        version = last["version"]  # an interrupted rollback, to be finished
    chosen = version or _before(client, model, current, history)
    try:
        Verifier.load(version_files(settings, chosen).path)
    except MlflowException as error:
        if error.error_code not in tracking.NOT_THERE:
            raise
        raise NothingToRollBack(f"{model} has no version {chosen}.") from error
    why = f"Rolled back from version {current}." if current else "There was no champion."
    tracking.set_champion(client, model, chosen, why, instead_of=current)
    return tell("rollback", "Rollback", f"Version {chosen} is the champion. {why}")


def _before(client: MlflowClient, model: str, current: str, history: list[dict[str, str]]) -> str:
    """The champion before this one, of those whose version is still there."""
    there = {str(one.version) for one in client.search_model_versions(f"name = '{model}'")}
    places = [place for place, entry in enumerate(history) if entry["version"] == current]
    for entry in reversed(history[: places[-1]] if places else history):
        if entry["version"] != current and entry["version"] in there:
            return entry["version"]
    raise NothingToRollBack(f"Version {current} of {model} is the only champion there was.")
