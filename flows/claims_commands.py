"""Commands for people who have claims: score, report, enroll, feedback, recalibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.console import (
    BAD_INPUT,
    FAILED,
    SOME_UNUSABLE,
    out,
    prepare_environment,
    read_settings,
    run_flow,
    show_claims,
    show_decisions,
    show_model,
    show_outcomes,
    stop,
)
from flows.options import Config, DataDir, Set
from siamese.errors import InputError, RunError
from siamese.files import read_json

app = typer.Typer()


@app.command()
def score(
    claims_dir: Annotated[
        Path, typer.Argument(help="Folder with a manifest or one folder a claim; or a manifest.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be scored and what is wrong.")
    ] = False,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Decide on every claim in a folder with the champion, and write the report.

    The manifest, claims.csv, .parquet or .xlsx, has the columns claim_id, questioned,
    reference; without it, each <claim_id>/ holds questioned.* and reference*.*. A page of a
    TIFF or PDF is scan.pdf#page=2. Exit code 3: some claims are unusable.
    """
    settings = read_settings(config, set_, data_dir)
    from siamese.enrolment import enrolment_folder, read_enrolment
    from siamese.intake import read_claims

    try:
        enrolment = read_enrolment(enrolment_folder(settings.data_dir))
        found = read_claims(claims_dir, enrolment.writers, settings.scoring.picture_folders)
    except InputError as error:
        stop(str(error), BAD_INPUT)
    except (RunError, OSError) as error:
        stop(f"{error}", FAILED)
    wrong = show_claims(found, claims_dir)
    if dry_run:
        raise typer.Exit(SOME_UNUSABLE if wrong else 0)
    prepare_environment(settings)
    from flows.score_claims import score_claims

    made = run_flow(score_claims, claims_dir.resolve(), settings)
    if show_decisions(made):
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
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.score_claims import score_claims

    made = run_flow(score_claims, claims_dir.resolve(), settings)
    page = made.report.path / "report.html"
    out.print(f"\nReport: {page}")
    if open_:
        typer.launch(str(page))


@app.command()
def enroll(
    references_dir: Annotated[
        Path, typer.Argument(help="Folder of <writer_id>/ pictures, or a manifest.")
    ],
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Keep writers' references, so that later claims need only a questioned signature.

    A manifest, references.csv, .parquet or .xlsx, has the columns writer_id, reference. Claims
    then name the writer in a column writer_id. Exit code 3: some references cannot be used.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.enrol_references import enrol_references

    outcomes = run_flow(enrol_references, settings, references_dir.resolve())
    if show_outcomes(outcomes, ("enrolled", "known"), ["writer_id", "name"]):
        raise typer.Exit(SOME_UNUSABLE)


@app.command()
def feedback(
    claims_dir: Annotated[Path, typer.Argument(help="The claims folder that was scored.")],
    verdicts: Annotated[Path, typer.Argument(help="What the report exported: verdicts.csv.")],
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Keep analysts' verdicts as labelled claims, to recalibrate on and to train on.

    Any CSV with the columns claim_id, verdict (genuine or forged) will do. Exit code 3: some
    verdicts could not be kept.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.keep_feedback import keep_feedback
    from tasks.feedback import feedback_folder

    outcomes = run_flow(keep_feedback, settings, claims_dir.resolve(), verdicts.resolve())
    wrong = show_outcomes(outcomes, ("kept",), ["claim_id"])
    folder = feedback_folder(settings)
    if (folder / "claims.csv").is_file():
        out.print(f"Labelled claims: {folder / 'claims.csv'}")
        out.print("Next: siamese recalibrate; or, with enough of them, to train on them as well:")
        out.print(f"  siamese train … --source manifest --path {folder / 'signatures.csv'}")
    if wrong:
        raise typer.Exit(SOME_UNUSABLE)


@app.command()
def recalibrate(
    labelled_dir: Annotated[
        Path | None,
        typer.Argument(help="Claims with a column label (genuine, forged); none: the feedback."),
    ] = None,
    config: Config = None,
    set_: Set = None,
    data_dir: DataDir = None,
) -> None:
    """Fit the champion's thresholds on your own labelled claims, as a new champion.

    Exit code 3: some labelled claims could not be used.

    Some twenty genuine and twenty forged claims are enough; the network stays as it is. Says
    what the policy did on them before, and does now on claims it was not fitted on.
    """
    settings = read_settings(config, set_, data_dir)
    prepare_environment(settings)
    from flows.recalibrate_champion import recalibrate_champion
    from tasks.feedback import feedback_folder

    labelled = labelled_dir.resolve() if labelled_dir else feedback_folder(settings)
    if labelled_dir is None and not (labelled / "claims.csv").is_file():
        stop(
            f"No verdicts are kept in {labelled}. Keep some first (siamese feedback CLAIMS "
            "verdicts.csv), or name a folder of labelled claims.",
            BAD_INPUT,
        )
    made = run_flow(recalibrate_champion, settings, labelled)
    out.print(f"\n{(made.path / 'summary.md').read_text()}")
    show_model(settings, made.path)
    if read_json(made.path / "registered.json")["left_out"]:
        raise typer.Exit(SOME_UNUSABLE)
