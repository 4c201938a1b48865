"""The commands on claims, on bad input, and the help, as a person types them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from programs import System, post, siamese

from siamese.config import SourceSettings
from siamese.sources import fetch_and_read
from siamese.tables import IMAGES


@pytest.fixture(scope="session")
def claims(system: System) -> Path:
    folder = system.cwd / "claims"
    shutil.copytree(system.output_of("example_claims") / "claims", folder)
    return folder


def test_score_with_a_server_and_again_from_the_cache(
    system: System, claims: Path, prefect_server: str
) -> None:
    shutil.copy(claims / "C-0001_questioned.png", claims / "new.png")
    with (claims / "claims.csv").open("a") as table:
        table.write("N-0001,new.png,C-0002_reference_1.png,10.00\n")
    first = system.run("score", claims, PREFECT_API_URL=prefect_server)
    assert first.returncode == 3, first.stdout[-3000:]  # some are unusable on purpose
    assert "67 claims in" in first.stdout
    assert "C-0063: reference_missing. The reference C-0063_reference_1.png" in first.stdout
    assert "Starting Prefect's temporary API" not in first.stdout
    assert re.search(r"'score-\w+' - Finished in state Completed", first.stdout)
    second = system.run("score", claims, PREFECT_API_URL=prefect_server)
    assert re.search(r"'score-\w+' - Finished in state Cached", second.stdout)
    assert re.search(r"'report-\w+' - Finished in state Cached", second.stdout)
    assert first.stdout.split("Decisions:")[1] == second.stdout.split("Decisions:")[1]
    found = post(f"{prefect_server}/artifacts/latest/filter", {}, timeout=60)
    keys = {artifact["key"] for artifact in found}
    assert {"score", "report"} <= keys


def test_dry_run_says_what_is_wrong_and_does_nothing(system: System, tmp_path: Path) -> None:
    claims = system.output_of("example_claims") / "claims"
    done = siamese("score", claims, "--dry-run", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 3
    assert "66 claims in" in done.stdout
    assert "2 claims cannot be scored" in done.stdout
    assert "C-0064: questioned_missing." in done.stdout
    assert not (tmp_path / "data").exists()


def test_removed_outputs_are_made_again(system: System, claims: Path, prefect_server: str) -> None:
    page = system.run("report", claims, PREFECT_API_URL=prefect_server)
    path = Path(re.findall(r"Report: (\S+)", page.stdout)[0])
    before = path.read_text()
    shutil.rmtree(path.parent)
    again = system.run("report", claims, PREFECT_API_URL=prefect_server)
    assert re.search(r"'report-\w+' - Finished in state Completed", again.stdout)
    assert re.search(r"'score-\w+' - Finished in state Cached", again.stdout)
    assert path.read_text().count("C-0001") == before.count("C-0001")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["score", "nowhere"], "The claims folder nowhere does not exist."),
        (["score", "."], "There are no claims in ."),
        (["train", "--set", "training.steps=none"], "training.steps: "),
        (["train", "--set", "training.stepz=1"], "training.stepz: there is no such setting."),
        (["train", "--source", "oracle"], "sources.0.kind: "),
        (["train", "--source", "cedar"], "sources.0: a cedar source needs a path"),
        (["train", "--path", "."], "--path goes with --source"),
        (["train", "--config", "gone.toml"], "The config file gone.toml does not exist."),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = siamese(*arguments, home=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stdout
    assert "Traceback" not in done.stdout


def test_faults_inside_a_flow_are_one_sentence_too(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    server = {"PREFECT_API_URL": prefect_server}
    missing = system.run("prepare", "--source", "kaggle", "--path", "gone", **server)
    assert missing.returncode == 2
    assert missing.stdout.rstrip().endswith("The kaggle source's folder gone does not exist.")
    none = siamese("score", system.cwd / "claims", home=system.home, cwd=tmp_path, **server)
    assert none.returncode == 1
    assert "has the alias champion" in none.stdout.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "demo",
        "prepare",
        "train",
        "retrain",
        "score",
        "report",
        "enroll",
        "feedback",
        "recalibrate",
        "rollback",
        "drift",
        "prune",
        "forget",
        "ui",
        "serve",
        "doctor",
    ],
)
def test_help_of_every_command(command: str, tmp_path: Path) -> None:
    done = siamese(*command.split(), "--help", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: siamese" in done.stdout
    assert len(done.stdout.splitlines()) > 8


def test_doctor_sees_the_champion(system: System) -> None:
    done = system.run("doctor")
    assert done.returncode == 0, done.stdout
    for name in ("python", "torch", "device", "disk", "registry", "prefect api", "source"):
        assert name in done.stdout
    assert "champion is version 1" in done.stdout


def test_drift_is_looked_for(system: System, prefect_server: str) -> None:
    looked = system.run("drift", PREFECT_API_URL=prefect_server)
    assert looked.returncode == 0, looked.stdout[-3000:]
    told = looked.stdout.rstrip().splitlines()[-1]
    assert re.search(r"claims that signature-verifier version \d+ scored in the last 7 days", told)
    runs = system.client().search_runs(["1"], "attributes.run_name LIKE 'drift-%'")
    assert {"drift_alarms", "drift_distance_D"} <= set(runs[0].data.metrics)


def test_one_corrupted_picture_costs_only_itself(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    made = fetch_and_read(SourceSettings(writers=8, images=3), tmp_path, seed=4)
    (made.root / made.images[0].path).write_bytes(b"not a picture any more")
    with (made.root / "manifest.csv").open("a") as table:
        table.write("gone.png,001,genuine\n")
    done = siamese(
        "prepare", "--source", "manifest", "--path", made.root / "manifest.csv",
        home=system.home, cwd=tmp_path, PREFECT_API_URL=prefect_server,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "(unreadable). The file could not be decoded (not a known picture)." in done.stdout
    assert "1 file(s) could not be placed: gone.png (there is no such file)" in done.stdout
    (folder,) = [p for p in (tmp_path / "data/stages/prepare").iterdir() if p.name[0] != "."]
    images = IMAGES.read(folder / "images.parquet")
    assert images["quality"].value_counts().to_dict() == {"ok": 47, "unreadable": 1}


def test_kaggle_layout_is_audited_and_split_by_protocol(
    system: System, prefect_server: str, kaggle_root: Path, tmp_path: Path
) -> None:
    done = siamese(
        "prepare", "--source", "kaggle", "--path", kaggle_root,
        home=system.home, cwd=tmp_path, PREFECT_API_URL=prefect_server,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "500 of 500 files in test/ are byte-identical" in done.stdout
    assert "the label follows from the second path's folder in 100.0% of 23,206" in done.stdout
    assert "writers are split anew" in done.stdout
    assert "pairs are rebuilt from the images" in done.stdout
    assert "Writers: 35 train, 8 calibration, 21 test; none in two splits." in done.stdout
    refused = siamese(
        "prepare", "--source", "kaggle", "--path", kaggle_root, "--set", "audit.on_leak=stop",
        home=system.home, cwd=tmp_path, PREFECT_API_URL=prefect_server,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "byte-identical" in refused.stdout.rstrip().splitlines()[-1]
