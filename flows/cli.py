"""The command line: ``siamese``. Each command reads the settings and starts a flow."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from flows import claims_commands
from flows.console import (
    DEMO,
    FAILED,
    MARKS,
    absolute,
    out,
    prepare_environment,
    read_settings,
    run_flow,
    sentences,
    show_decisions,
    show_figures,
    show_model,
)
from flows.options import Config, DataDir, Kinds, Paths, Set
from siamese.addresses import without_password

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Check handwritten signatures in bulk: train and calibrate a Siamese network, score "
        "folders of claims, keep a registry of models.\n\nStart with [bold]siamese demo[/bold]."
    ),
)


@app.command()
def demo(config: Config = None, set_: Set = None, data_dir: DataDir = None) -> None:
    """Run everything on invented signatures: train, register, score claims, report.

    Needs no network and no account; a few minutes on two cores. Its sources and steps are its
    own, whatever a file or the environment says; --set changes them.
    """
    settings = read_settings(config, set_, data_dir, given=DEMO)
    prepare_environment(settings)
    from flows.demo import demo as flow

    made = run_flow(flow, settings)
    show_decisions(made.scored)
    show_model(settings, made.trained.registered.path)


@app.command()
def prepare(
    source: Kinds = None,
    path: Paths = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Get the signatures, audit them for leaks, and build pairs as Parquet."""
    settings = read_settings(config, set_, data_dir, source, path)
    prepare_environment(settings)
    from flows.prepare_data import prepare_data

    data = run_flow(prepare_data, settings)
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
    settings = read_settings(config, set_, data_dir, source, path)
    prepare_environment(settings)
    from flows.train_and_register import train_and_register

    made = run_flow(train_and_register, settings)
    show_figures(made.evaluated.path)
    show_model(settings, made.registered.path)


@app.command()
def retrain(
    source: Kinds = None,
    path: Paths = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """The nightly flow, now: train a challenger, promote it when it beats the champion."""
    settings = read_settings(config, set_, data_dir, source, path)
    prepare_environment(settings)
    from flows.nightly_retrain import nightly_retrain

    out.print(f"\n{run_flow(nightly_retrain, settings)}")


@app.command()
def rollback(
    version: Annotated[
        str, typer.Argument(help="Version to go to; none: the champion before this one.")
    ] = "",
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Make an earlier version the champion again; doing it twice changes nothing more.

    What was champion when, and why, is in the registered model's tag champion_history.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.roll_back import roll_back

    out.print(f"\n{run_flow(roll_back, settings, version)}")


@app.command()
def forget(
    writer: Annotated[
        str, typer.Argument(help="As enrolled, as in writer_id, or as in a training set.")
    ],
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Remove a writer's pictures, vectors and feedback from every store, for good.

    Says which models were trained on them, and what lies in folders that are not ours.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.forget_writer import forget_writer

    out.print()
    for line in run_flow(forget_writer, settings, writer):
        out.print(line)


@app.command()
def drift(config: Config = None, set_: Set = None, data_dir: DataDir = None) -> None:
    """Do the last days' claims look like what the champion was calibrated on?

    Looks at schedule.drift_days days. siamese serve does so on schedule.drift_cron.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.watch_drift import watch_drift

    out.print(f"\n{run_flow(watch_drift, settings)}")


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Remove old challengers, and files that can be made again and were not used for long.

    By retention.challengers and retention.unused_days. Champions of up to the last thirty
    changes stay.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.prune_old import prune_old
    from tasks.prune import KEPT

    lines = run_flow(prune_old, settings, dry_run)
    for line in lines:
        out.print(line)
    gone = sum(not line.endswith(KEPT) for line in lines)
    out.print(f"\n{gone:,} {'would be removed' if dry_run else 'removed'}.")


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
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from tasks import tracking

    with sentences():
        client = tracking.connect(settings)
    experiment: Any = client.get_experiment_by_name(settings.tracking.experiment)
    uri = tracking.tracking_uri(settings)
    remote = uri.startswith("http")
    base = f"{without_password(uri.rstrip('/'))}/#" if remote else f"http://127.0.0.1:{port}/#"
    out.print(f"Runs:   {base}/experiments/{experiment.experiment_id}/runs")
    out.print(f"Models: {base}/models/{settings.tracking.model}")
    if remote:
        return  # that server shows its own
    command = [
        sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--default-artifact-root", tracking.artifact_root(settings).as_uri(),
    ]  # fmt: skip
    # Not an argument: other users of this machine can read those.
    raise typer.Exit(subprocess.call(command, env={**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port of the Prefect server that is started.")] = 4200,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Retrain every night from this process, with no work pool; Ctrl-C ends it.

    Starts a Prefect server on this machine, or uses the one that PREFECT_API_URL names. When
    is schedule.cron and schedule.timezone; schedule.drift_cron is when drift is looked for.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.server import alone, bury_dead_runs, running_server

    own = not os.environ.get("PREFECT_API_URL")
    with sentences(), alone() if own else nullcontext(), running_server(port) as url:
        # Only now: Prefect reads the server's address when it is imported.
        os.environ["PREFECT_API_URL"] = url
        if own and bury_dead_runs():
            out.print("Runs that were under way when this machine stopped are marked crashed.")
        from prefect import serve as serve_deployments
        from prefect.client.schemas import objects
        from prefect.schedules import Cron

        from flows.nightly_retrain import nightly_retrain
        from flows.watch_drift import watch_drift

        when = f"'{settings.schedule.cron}' {settings.schedule.timezone}"
        out.print(f"Prefect: {url.removesuffix('/api')}")
        on = ", ".join(source.label for source in settings.sources)
        out.print(f"Retraining at {when} on {on}. Now instead: siamese retrain. Ctrl-C ends this.")
        told = {"settings": absolute(settings).model_dump(mode="json")}
        zone = settings.schedule.timezone
        second = {"skip": "CANCEL_NEW", "wait": "ENQUEUE"}[settings.schedule.second_run]
        one_at_a_time = objects.ConcurrencyLimitConfig(
            limit=1, collision_strategy=objects.ConcurrencyLimitStrategy(second)
        )
        deployments: list[Any] = [
            nightly_retrain.to_deployment(
                name="nightly", schedule=Cron(settings.schedule.cron, timezone=zone),
                parameters=told, concurrency_limit=one_at_a_time,
            ),
            watch_drift.to_deployment(
                name="drift", schedule=Cron(settings.schedule.drift_cron, timezone=zone),
                parameters=told,
            ),
        ]  # fmt: skip
        serve_deployments(*deployments, print_starting_message=False)


@app.command()
def doctor(config: Config = None, set_: Set = None, data_dir: DataDir = None) -> None:
    """Say what is here and what is missing: versions, device, stores, disk."""
    settings = read_settings(config, set_, data_dir)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # what is away is to be seen
    prepare_environment(settings)
    from flows.doctor import examine

    healthy = True
    for finding in examine(settings):
        mark, colour = MARKS[finding.level]
        out.print(mark, style=colour, end=f" {finding.name:<18} ")
        out.print(finding.told)
        healthy = healthy and finding.level != "fault"
    raise typer.Exit(0 if healthy else FAILED)


app.add_typer(claims_commands.app)


def main() -> None:
    """Entry point."""
    app()
