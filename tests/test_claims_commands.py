"""Enrolment, tiers and recalibration, through the command line."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from programs import System

from siamese.files import read_json
from siamese.tables import CLAIM_DECISIONS, WRITER_SPLITS


@pytest.fixture
def claims(system: System) -> Path:
    return system.output_of("example_claims") / "claims"


@pytest.fixture
def own_registry(system: System, tmp_path: Path) -> Path:
    """A data folder with a copy of the registry, so that its champion may change."""
    shutil.copytree(system.data / "mlflow", tmp_path / "data" / "mlflow")
    return tmp_path / "data"


def decisions_of(output: str) -> pd.DataFrame:
    path = Path(re.findall(r"Decisions: +(\S+)", output)[-1]).with_suffix(".parquet")
    return CLAIM_DECISIONS.read(path).set_index("claim_id")


def test_enrolled_writers_need_no_reference_pictures(
    system: System, claims: Path, own_registry: Path, prefect_server: str, tmp_path: Path
) -> None:
    references, later = tmp_path / "references", tmp_path / "later"
    later.mkdir()
    names = ["C-0002", "C-0004", "C-0006"]
    for name in names:
        (references / name).mkdir(parents=True)
        for path in claims.glob(f"{name}_reference*"):
            shutil.copy(path, references / name)
        shutil.copy(claims / f"{name}_questioned.png", later)
    (references / "C-0006" / "note.png").write_text("no picture")
    rows = "".join(f"{name},{name}_questioned.png,{name}\n" for name in names)
    (later / "claims.csv").write_text(f"claim_id,questioned,writer_id\n{rows}X,a.png,nobody\n")
    flags = ("--data-dir", own_registry)
    before = system.run("score", later, "--dry-run", *flags)
    assert "C-0002: writer_not_enrolled" in before.stdout
    done = system.run("enroll", references, *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 3, done.stdout[-2000:]
    assert "9 enrolled, 1 unreadable." in done.stdout
    assert "C-0006 C-0006/note.png: unreadable." in done.stdout
    shutil.rmtree(references)
    done = system.run("score", later, *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 3, done.stdout[-2000:]
    found = decisions_of(done.stdout)
    known = CLAIM_DECISIONS.read(system.shown("Decisions").with_suffix(".parquet"))
    known = known.set_index("claim_id")
    for name in names:
        for column in ("distance", "decision", "n_references"):
            assert found.loc[name, column] == known.loc[name, column]
    assert found.loc["X", "reason"] == "questioned_missing"
    page = Path(re.findall(r"Report: +(\S+)", done.stdout)[-1]).read_text()
    assert page.count("data:image/webp;base64,") >= 6


def test_tiers_tighten_with_the_amount(system: System, claims: Path, prefect_server: str) -> None:
    tiers = '[{"amount_from": 500, "max_far_skilled": 0.005, "max_frr": 0.02}]'
    done = system.run(
        "score", claims, "--set", "policy.amount_column=amount", "--set", f"policy.tiers={tiers}",
        PREFECT_API_URL=prefect_server,
    )  # fmt: skip
    found = decisions_of(done.stdout)
    large = found["amount"].astype(float) >= 500
    assert 5 < large.sum() < 60
    assert found.loc[large, "threshold_policy"].unique().tolist() == [
        "FAR_skilled<=0.005 FRR<=0.02 prior=0.5"
    ]
    known = CLAIM_DECISIONS.read(system.shown("Decisions").with_suffix(".parquet"))
    known = known.set_index("claim_id")
    assert (found.loc[~large, "decision"] == known.loc[~large, "decision"]).all()
    assert (found.loc[large, "decision"] == "accept").sum() < (
        known.loc[large, "decision"] == "accept"
    ).sum()
    wrong = system.run("score", claims, "--set", f"policy.tiers={tiers}")
    assert wrong.returncode == 2
    assert "policy: amount_column and tiers are given together" in wrong.stdout


def test_recalibration_makes_a_version_with_its_lineage(
    system: System, claims: Path, own_registry: Path, prefect_server: str, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled"
    shutil.copytree(claims, labelled)
    truth = pd.read_csv(claims.parent / "truth.csv").set_index("claim_id")["kind"]
    label = truth.map({"genuine": "genuine", "skilled_forgery": "forged"}).dropna()
    table = pd.read_csv(labelled / "claims.csv")
    table = table[table["claim_id"].isin(label.index)]
    table.assign(label=table["claim_id"].map(label)).to_csv(labelled / "claims.csv", index=False)
    flags = ("--data-dir", own_registry)
    none = system.run("recalibrate", *flags, PREFECT_API_URL=prefect_server)
    assert none.returncode == 2
    assert "No verdicts are kept in" in none.stdout
    done = system.run("recalibrate", labelled, *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "| skilled forgeries accepted |" in done.stdout
    client = MlflowClient(f"sqlite:///{own_registry}/mlflow/mlflow.db")
    made = client.get_model_version_by_alias("signature-verifier", "champion")
    assert str(made.version) == "2"
    assert made.tags["recalibrated_from"] == "signature-verifier version 1"
    assert made.description.startswith("## Recalibrated from signature-verifier version 1 on 30")
    scored = system.run("score", claims, *flags, PREFECT_API_URL=prefect_server)
    found = decisions_of(scored.stdout)
    assert found["model_version"].unique().tolist() == ["signature-verifier version 2"]
    known = CLAIM_DECISIONS.read(system.shown("Decisions").with_suffix(".parquet"))
    assert (found["decision"].to_numpy() != known["decision"].to_numpy()).any()
    page = Path(re.findall(r"Report: +(\S+)", scored.stdout)[-1]).read_text()
    assert "labelled claims, each writer left out in turn" in page
    assert "not measured" not in page.split("Is this batch")[0].split("Random forgeries")[0]
    client.set_registered_model_alias("signature-verifier", "champion", "1")
    again = system.run("recalibrate", labelled, *flags, PREFECT_API_URL=prefect_server)
    assert again.returncode == 0, again.stdout[-3000:]
    # The same claims make the same version, and it is the champion again.
    made = client.get_model_version_by_alias("signature-verifier", "champion")
    assert str(made.version) == "2"
    done = system.run("rollback", *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.rstrip().endswith("the champion. Rolled back from version 2.")
    system.run("rollback", "2", *flags, PREFECT_API_URL=prefect_server)
    history = json.loads(client.get_registered_model("signature-verifier").tags["champion_history"])
    assert [entry["version"] for entry in history] == ["1", "2", "1", "2"]
    other = system.run(
        "score", claims, "--set", "policy.max_frr=0.2", *flags, PREFECT_API_URL=prefect_server
    )
    page = Path(re.findall(r"Report: +(\S+)", other.stdout)[-1]).read_text()
    assert "not measured" in page


def test_files_that_are_no_feedback(
    system: System, claims: Path, prefect_server: str, tmp_path: Path
) -> None:
    server = {"PREFECT_API_URL": prefect_server}
    done = system.run("feedback", claims, tmp_path / "gone.csv", **server)
    assert done.returncode == 2
    assert "does not exist" in done.stdout
    done = system.run("enroll", tmp_path, **server)
    assert done.returncode == 2
    assert "There are no references in" in done.stdout


def test_forgetting_names_the_models_that_were_trained_on_a_writer(
    system: System, own_registry: Path, prefect_server: str
) -> None:
    client = MlflowClient(f"sqlite:///{own_registry}/mlflow/mlflow.db")
    run = client.get_model_version("signature-verifier", "1")
    known = read_json(next((system.data / "models").rglob("verifier.json")))
    writer = known["provenance"]["training_writers"][0]
    flags = ("--data-dir", own_registry)
    done = system.run("forget", writer, *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"Trained on this writer: signature-verifier version(s) {run.version}." in done.stdout
    none = system.run("forget", "nobody", *flags, PREFECT_API_URL=prefect_server)
    assert "Nothing is kept of this writer" in none.stdout


def test_forgetting_a_test_writer_removes_pictures_of_pairs_from_runs(
    system: System, own_registry: Path, prefect_server: str
) -> None:
    uri = f"{own_registry}/mlflow/mlflow.db"
    with sqlite3.connect(uri) as database:  # the copy's files, not those of the system
        database.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
            (str(system.data), str(own_registry)),
        )
    client = MlflowClient(f"sqlite:///{uri}")
    run_id = client.get_model_version("signature-verifier", "1").run_id
    hardest = next(own_registry.rglob("hardest_pairs.png"))
    splits = WRITER_SPLITS.read(system.output_of("split") / "splits.parquet")
    writer = splits.loc[splits["split"] == "test", "writer"].iloc[0]
    flags = ("--data-dir", own_registry)
    done = system.run("forget", writer, *flags, PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "1 picture(s) of hardest pairs removed" in done.stdout
    assert "Trained on this writer" not in done.stdout
    assert not hardest.exists()
    assert "figures/det.png" in [one.path for one in client.list_artifacts(run_id, "figures")]
