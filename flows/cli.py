"""The command line: ``siamese``. Each command reads the settings and starts a flow."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from siamese.config import ConfigError, Settings, load_settings, parse_assignment
from siamese.errors import InputError, RunError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Check handwritten signatures in bulk: train and calibrate a Siamese network, score "
        "folders of claims, keep a registry of models.\n\nStart with [bold]siamese demo[/bold]."
    ),
)
# No markup: file names hold brackets.
out = Console(soft_wrap=True, highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

#: Exit codes: 0 all done, 1 failed, 2 bad input or settings, 3 some claims unusable.
FAILED, BAD_INPUT, SOME_UNUSABLE = 1, 2, 3

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; none: siamese.toml if it is here.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Any setting, as in training.steps=500; repeatable."
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is written [default: data].")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="synthetic, kaggle, bhsig260, cedar or manifest; repeat to pool several.",
    ),
]
Paths = Annotated[
    list[Path] | None,
    typer.Option("--path", help="Folder or manifest of each --source, in the same order."),
]


@app.command()
def demo(config: Config = None, set_: Set = None, data_dir: DataDir = None) -> None:
    """Run everything on invented signatures: train, register, score claims, report.

    Needs no network and no account; a few minutes on two cores.
    """
    settings = _settings(config, set_, data_dir, defaults=_DEMO)
    _prefect(settings)
    from flows.demo import demo as flow

    made = _run(flow, settings)
    _show_decisions(made.scored)
    _show_model(settings, made.trained.registered.path)


@app.command()
def prepare(
    source: Kinds = None,
    path: Paths = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Get the signatures, audit them for leaks, and build pairs as Parquet."""
    settings = _settings(config, set_, data_dir, source, path)
    _prefect(settings)
    from flows.prepare_data import prepare_data

    data = _run(prepare_data, settings)
    out.print(f"\nWriters by split: {data.splits.path / 'splits.parquet'}")
    out.print(f"Pairs:            {data.pairs.path}")
    out.print("Next: siamese train, with the same options.")


@app.command()
def train(
    source: Kinds = None,
    path: Paths = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Train, calibrate, evaluate and register a model; the first becomes champion."""
    settings = _settings(config, set_, data_dir, source, path)
    _prefect(settings)
    from flows.train_and_register import train_and_register

    made = _run(train_and_register, settings)
    _show_figures(made.evaluated.path)
    _show_model(settings, made.registered.path)


@app.command()
def retrain(
    source: Kinds = None,
    path: Paths = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """The nightly flow, now: train a challenger, promote it when it beats the champion."""
    settings = _settings(config, set_, data_dir, source, path)
    _prefect(settings)
    from flows.nightly_retrain import nightly_retrain

    out.print(f"\n{_run(nightly_retrain, settings)}")


@app.command()
def score(
    claims_dir: Annotated[
        Path, typer.Argument(help="Folder with claims.csv, or with one folder a claim.")
    ],
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Decide on every claim in a folder with the champion, and write the report.

    claims.csv has the columns claim_id, questioned, reference; without it, each
    <claim_id>/ holds questioned.* and reference*.*. Exit code 3: some claims are unusable.
    """
    settings = _settings(config, set_, data_dir)
    from siamese.claims import ClaimsError, read_claims

    try:
        found = read_claims(claims_dir)
    except ClaimsError as error:
        _stop(str(error), BAD_INPUT)
    out.print(f"{len(found):,} claims in {claims_dir}.")
    _prefect(settings)
    from flows.score_claims import score_claims

    made = _run(score_claims, claims_dir.resolve(), settings)
    if _show_decisions(made):
        raise typer.Exit(SOME_UNUSABLE)


@app.command()
def report(
    claims_dir: Annotated[Path, typer.Argument(help="A claims folder that was scored.")],
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Write the report of a claims folder again; what was scored is not scored again."""
    settings = _settings(config, set_, data_dir)
    _prefect(settings)
    from flows.score_claims import score_claims

    made = _run(score_claims, claims_dir.resolve(), settings)
    page = made.report.path / "report.html"
    out.print(f"\nReport: {page}")
    if open_:
        typer.launch(str(page))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Browse runs and the model registry: the MLflow UI, on this machine only.

    With a tracking server set, prints that server's pages.
    """
    settings = _settings(config, set_, data_dir)
    _prefect(settings)
    from tasks import tracking

    with _sentences():
        client = tracking.connect(settings)
    experiment: Any = client.get_experiment_by_name(settings.tracking.experiment)
    uri = tracking.tracking_uri(settings)
    remote = uri.startswith("http")
    base = f"{uri.rstrip('/')}/#" if remote else f"http://127.0.0.1:{port}/#"
    out.print(f"Runs:   {base}/experiments/{experiment.experiment_id}/runs")
    out.print(f"Models: {base}/models/{settings.tracking.model}")
    if remote:
        return  # that server shows its own
    command = [
        sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", uri,
        "--default-artifact-root", tracking.artifact_root(settings).as_uri(),
    ]  # fmt: skip
    raise typer.Exit(subprocess.call(command))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port of the Prefect server that is started.")] = 4200,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Retrain every night from this process, with no work pool; Ctrl-C ends it.

    Starts a Prefect server on this machine, or uses the one that PREFECT_API_URL names. When
    is schedule.cron and schedule.timezone.
    """
    settings = _settings(config, set_, data_dir)
    _prefect(settings)
    from flows.server import running_server

    with _sentences(), running_server(port) as url:
        # Only now: Prefect reads the server's address when it is imported.
        os.environ["PREFECT_API_URL"] = url
        from prefect.schedules import Cron

        from flows.nightly_retrain import nightly_retrain

        when = f"'{settings.schedule.cron}' {settings.schedule.timezone}"
        out.print(f"Prefect: {url.removesuffix('/api')}")
        out.print(f"Retraining at {when}. Now instead: siamese retrain. Ctrl-C ends this.")
        nightly_retrain.serve(
            name="nightly",
            schedule=Cron(settings.schedule.cron, timezone=settings.schedule.timezone),
            parameters={"settings": settings.model_dump(mode="json")},
            limit=1,
            print_starting_message=False,
        )


@app.command()
def doctor(config: Config = None, set_: Set = None, data_dir: DataDir = None) -> None:
    """Say what is here and what is missing: versions, device, stores, disk."""
    settings = _settings(config, set_, data_dir)
    _prefect(settings)
    from flows.doctor import examine

    healthy = True
    for finding in examine(settings):
        mark, colour = _MARKS[finding.level]
        out.print(mark, style=colour, end=f" {finding.name:<18} ")
        out.print(finding.told)
        healthy = healthy and finding.level != "fault"
    raise typer.Exit(0 if healthy else FAILED)


_MARKS = {"ok": ("ok", "green"), "note": ("--", "yellow"), "fault": ("!!", "red")}
_DEMO: dict[str, Any] = {
    "sources": [{"kind": "synthetic", "writers": 60}],
    "training.steps": 500,
    "training.evaluate_every": 50,
}


def _settings(
    config: Path | None,
    assignments: list[str] | None,
    data_dir: Path | None,
    kinds: list[str] | None = None,
    paths: list[Path] | None = None,
    defaults: dict[str, Any] | None = None,
) -> Settings:
    """All settings, or the end of the program with a sentence for each bad one."""
    try:
        overrides: dict[str, Any] = dict(parse_assignment(text) for text in assignments or [])
        if data_dir is not None:
            overrides["data_dir"] = data_dir
        if paths and not kinds:
            raise ConfigError("--path goes with --source: say what kind of data lies there.")
        if kinds:
            if paths and len(paths) != len(kinds):
                raise ConfigError(f"{len(kinds)} --source and {len(paths)} --path do not match.")
            overrides["sources"] = [
                {"kind": kind, "path": path}
                for kind, path in itertools.zip_longest(kinds, paths or [])
            ]
        return load_settings(config, overrides, defaults)
    except ConfigError as error:
        _stop(str(error), BAD_INPUT)


def _prefect(settings: Settings) -> None:
    """Set what Prefect and MLflow read when they are imported, where the user has not."""
    for name, value in {
        # The first start migrates Prefect's database, which takes longer than its own limit.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOCAL_STORAGE_PATH": str(settings.data_dir.resolve() / "cache"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)


def _run(flow: Any, *arguments: Any) -> Any:
    """Run a flow; an error that we foresaw becomes a sentence and an exit code."""
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        out.print(
            "Starting Prefect's temporary API, 10 to 60 s (set PREFECT_API_URL to use a server)…"
        )
    with _sentences():
        return flow(*arguments)
    raise AssertionError  # for the type checker: the block above returns or ends the program


@contextmanager
def _sentences() -> Iterator[None]:
    """Foreseen failures end the program with a sentence and a code, not with a traceback."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except InputError as error:
        _stop(str(error), BAD_INPUT)
    except RunError as error:
        _stop(str(error), FAILED)
    except MlflowException as error:
        _stop(f"The tracking server or database of MLflow failed: {error}", FAILED)


def _show_decisions(made: Any) -> int:
    """Where the decisions are, and how many of each; returns the number unusable."""
    from siamese.tables import CLAIM_DECISIONS, DECISIONS

    decisions = CLAIM_DECISIONS.read(made.decisions.path / "decisions.parquet")
    counts = decisions["decision"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in DECISIONS)
    out.print(f"\n{len(decisions):,} claims: {told}.")
    out.print(f"Decisions: {made.decisions.path / 'decisions.csv'}")
    out.print(f"Report:    {made.report.path / 'report.html'}")
    return int(counts.get("unusable", 0))


def _show_figures(evaluated: Path) -> None:
    from siamese.evaluation import Evaluation, lines

    data = json.loads((evaluated / "evaluation.json").read_text())
    out.print("")
    for line in lines([Evaluation.from_dict(one) for one in data]):
        out.print(line)
    out.print(f"Model card: {evaluated / 'model_card.md'}")


def _show_model(settings: Settings, registered: Path) -> None:
    made = json.loads((registered / "registered.json").read_text())
    out.print(f"Model:     {made['model']} version {made['version']}, alias {made['alias']}")
    directory = "" if settings.data_dir == Path("data") else f" --data-dir {settings.data_dir}"
    out.print(f"Registry:  siamese ui{directory}   (then http://127.0.0.1:5000)")


def _stop(message: str, code: int) -> NoReturn:
    err.print(message, style="red")
    raise typer.Exit(code)


def main() -> None:
    """Entry point."""
    app()
