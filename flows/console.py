"""What all commands share: settings from flags, running a flow, and talking to a person."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from siamese.addresses import without_password
from siamese.config import Settings
from siamese.errors import InputError, RunError
from siamese.loading import ConfigError, load_settings, parse_assignment

if TYPE_CHECKING:
    import pandas as pd

    from siamese.claims import Claim

# No markup: file names hold brackets.
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

#: Exit codes: 0 all done, 1 failed, 2 bad input or settings, 3 some claims unusable.
FAILED, BAD_INPUT, SOME_UNUSABLE = 1, 2, 3

_SHOWN = 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PREFECT_AWAY = ("Failed to reach API", "Timed out while attempting to connect to ephemeral")
_FULL_TOLD = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full")
MARKS = {"ok": ("ok", "green"), "note": ("--", "yellow"), "fault": ("!!", "red")}
DEMO: dict[str, Any] = {
    "sources": [{"kind": "synthetic", "writers": 60}],
    # More changes little on invented signatures: there, most is in how strokes run.
    "training.steps": 20,
    "training.evaluate_every": 5,
}


def read_settings(
    config: Path | None,
    assignments: list[str] | None,
    data_dir: Path | None,
    kinds: list[str] | None = None,
    paths: list[Path] | None = None,
    given: dict[str, Any] | None = None,
) -> Settings:
    """All settings, or the end of the program with a sentence for each bad one.

    Parameters
    ----------
    given : that flags alone change.
    """
    try:
        flagged = dict(parse_assignment(text) for text in assignments or [])
        overrides: dict[str, Any] = {**(given or {}), **flagged}
        if data_dir is not None:
            overrides["data_dir"] = data_dir
        if paths and not kinds:
            raise ConfigError("--path goes with --source: say what kind of data lies there.")
        if kinds:
            if paths and len(paths) != len(kinds):
                raise ConfigError(f"{len(kinds)} --source and {len(paths)} --path do not match.")
            overrides["sources"] = [
                # One of a kind is called like it; of several, the second is kaggle2.
                {"kind": kind, "path": path, "name": f"{kind}{n}" if n > 1 else ""}
                for place, (kind, path) in enumerate(itertools.zip_longest(kinds, paths or []))
                for n in [kinds[: place + 1].count(kind)]
            ]
        settings = load_settings(config, overrides)
    except ConfigError as error:
        stop(str(error), BAD_INPUT)
    if "tracking.uri" in flagged:  # a flag wins over MLflow's own variable, too
        os.environ["MLFLOW_TRACKING_URI"] = settings.tracking.uri
    return settings


def absolute(settings: Settings) -> Settings:
    """The same settings for a process that starts in another folder."""
    sources = tuple(
        source.model_copy(update={"path": source.path.resolve() if source.path else None})
        for source in settings.sources
    )
    folders = tuple(folder.resolve() for folder in settings.scoring.picture_folders)
    scoring = settings.scoring.model_copy(update={"picture_folders": folders})
    changes = {"data_dir": settings.data_dir.resolve(), "sources": sources, "scoring": scoring}
    return settings.model_copy(update=changes)


def prepare_environment(settings: Settings) -> None:
    """Set what Prefect and MLflow read when they are imported, where the user has not."""
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    for name, value in {
        # The first start migrates Prefect's database, which takes longer than its own limit.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOCAL_STORAGE_PATH": str(settings.data_dir.resolve() / "cache"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # Half a minute; its own seven take four, and what asks is tried three times.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
        # Eight processes beside the UI that would judge answers of language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)


def run_flow(flow: Any, *arguments: Any) -> Any:
    """Run a flow; an error that we foresaw becomes a sentence and an exit code."""
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        out.print(
            "Starting Prefect's temporary API, 10 to 60 s (set PREFECT_API_URL to use a server)…"
        )
    with sentences():
        return flow(*arguments)
    raise AssertionError  # for the type checker: the block above returns or ends the program


@contextmanager
def sentences() -> Iterator[None]:
    """Foreseen failures end the program with a sentence and a code, not with a traceback."""
    import httpx
    from mlflow.exceptions import MlflowException

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_no_traceback)
    try:
        yield
    except InputError as error:
        stop(str(error), BAD_INPUT)
    except RunError as error:
        stop(str(error), FAILED)
    except (OSError, MlflowException) as error:
        # MLflow and SQLite say it in words of their own, and keep the number to themselves.
        if getattr(error, "errno", 0) in _FULL or any(words in str(error) for words in _FULL_TOLD):
            stop(
                f"The disk is full: {error}. Make room (siamese prune --dry-run says what could "
                "go), and run the same again: what was finished is kept.",
                FAILED,
            )
        told = without_password(str(error))
        if isinstance(error, OSError):
            stop(f"{told}.", FAILED)
        stop(f"The tracking server or database of MLflow failed: {told}", FAILED)
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg2", "boto3"):
            raise
        stop(
            f"{error}. A database or store that the settings name needs: "
            "pip install 'siamese-signatures[servers]'",
            FAILED,
        )
    except (httpx.TransportError, RuntimeError) as error:  # of Prefect's client
        if isinstance(error, RuntimeError) and not str(error).startswith(_PREFECT_AWAY):
            raise
        stop(
            f"Prefect's server does not answer: {error}. Is PREFECT_API_URL right? Where none is "
            "set, can its folder be written (PREFECT_HOME)?",
            FAILED,
        )


def _no_traceback(record: logging.LogRecord) -> bool:
    """A failure that we foresaw is told by its sentence."""
    if record.exc_info and isinstance(record.exc_info[1], InputError | RunError):
        record.exc_info = None
    return True


def show_claims(claims: Sequence[Claim], claims_dir: Path) -> int:
    """What a claims folder holds and what is wrong in it; returns the number not to be scored."""
    wrong, first = 0, list[str]()
    for one in claims:
        if one.problem:
            wrong += 1
            if len(first) < _SHOWN:
                first.append(f"{one.claim_id}: {one.problem}. {one.detail}")
    out.print(f"{len(claims):,} claims in {claims_dir}; {wrong:,} claims cannot be scored.")
    _show_wrong(first, wrong)
    return wrong


def _show_wrong(first: Sequence[str], count: int) -> None:
    """The first of some lines, and how many more there are."""
    for line in first:
        out.print(f"  {line}")
    if count > len(first):
        out.print(f"  … and {count - len(first):,} more.")


def show_decisions(made: Any) -> int:
    """Where the decisions are, and how many of each; returns the number unusable."""
    from siamese.tables import CLAIM_DECISIONS, DECISIONS

    path = made.decisions.path / "decisions.parquet"
    decisions = CLAIM_DECISIONS.columns(path, ["decision"])
    counts = decisions["decision"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in DECISIONS)
    out.print(f"\n{len(decisions):,} claims: {told}.")
    out.print(f"Decisions: {made.decisions.path / 'decisions.csv'}")
    out.print(f"Report:    {made.report.path / 'report.html'}")
    return int(counts.get("unusable", 0))


def show_outcomes(outcomes: pd.DataFrame, good: Sequence[str], names: list[str]) -> int:
    """How many of each outcome, and what is wrong; returns the number that is not good."""
    counts = outcomes["outcome"].value_counts()
    out.print("\n" + ", ".join(f"{n:,} {name}" for name, n in counts.items()) + ".")
    wrong = outcomes[~outcomes["outcome"].isin(good)]
    first = [
        f"{' '.join(str(row[name]) for name in names)}: {row['outcome']}. {row['detail']}"
        for row in wrong.head(_SHOWN).to_dict("records")
    ]
    _show_wrong(first, len(wrong))
    return len(wrong)


def show_figures(evaluated: Path) -> None:
    from siamese.evaluation import Evaluation, lines

    data = json.loads((evaluated / "evaluation.json").read_text())
    out.print("")
    for line in lines([Evaluation.from_dict(one) for one in data]):
        out.print(line)
    out.print(f"Model card: {evaluated / 'model_card.md'}")


def show_model(settings: Settings, registered: Path) -> None:
    made = json.loads((registered / "registered.json").read_text())
    out.print(f"Model:     {made['model']} version {made['version']}, alias {made['alias']}")
    directory = "" if settings.data_dir == Path("data") else f" --data-dir {settings.data_dir}"
    out.print(f"Registry:  siamese ui{directory}")


def stop(message: str, code: int) -> NoReturn:
    err.print(message, style="red")
    raise typer.Exit(code)
