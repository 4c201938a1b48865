"""Training again: nightly, killed, with other data, on servers, deployed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pytest
from programs import SIAMESE, SMALL, System, environment, free_port, serving, siamese

from siamese.config import SourceSettings
from siamese.sources import fetch_and_read
from siamese.tables import IMAGES


def test_killed_training_resumes_in_the_same_run(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    arguments = ["train", *SMALL, "--set", "training.steps=150"]
    env = environment(system.home, PREFECT_API_URL=prefect_server)
    with subprocess.Popen(
        [SIAMESE, *arguments],
        env=env,
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Training: step 15 of 150" in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
    server = {"PREFECT_API_URL": prefect_server}
    done = siamese(*arguments, home=system.home, cwd=tmp_path, **server)
    steps = [int(step) for step in re.findall(r"Training: step (\d+) of", done.stdout)]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/data/mlflow/mlflow.db")
    (run,) = client.search_runs(
        [client.get_experiment_by_name("signature-verification").experiment_id]
    )
    logged = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
    assert done.returncode == 0, done.stdout[-3000:]
    assert min(steps) >= 15
    assert logged == list(range(5, 151, 5))
    assert run.info.status == "FINISHED"


def test_served_schedule_runs_the_nightly_flow_when_triggered(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    command = [SIAMESE, "serve", *SMALL, "--set", "training.steps=100", "--port", str(port)]
    command += ["--set", "schedule.cron=30 3 * * *", "--set", "schedule.timezone=Asia/Kolkata"]

    def post(path: str, body: dict[str, object]) -> Any:
        request = urllib.request.Request(
            f"{api}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    with serving(
        command, f"{api}/health", tmp_path / "log", tmp_path, environment(tmp_path / "prefect")
    ):
        found: list[dict[str, Any]] = []
        for _ in range(60):
            found = post("/deployments/filter", {})
            if len(found) == 2:
                break
            time.sleep(1)
        nightly, _drift = sorted(found, key=lambda one: one["name"], reverse=True)
        (schedule,) = nightly["schedules"]
        assert schedule["schedule"]["cron"] == "30 3 * * *"
        assert schedule["schedule"]["timezone"] == "Asia/Kolkata"
        wanted = {
            "deployments": {"id": {"any_": [nightly["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        for _ in range(120):
            coming = post("/flow_runs/filter", wanted)
            if coming:
                break
            time.sleep(1)
        assert {run["expected_start_time"][11:16] for run in coming} == {"22:00"}  # 03:30 there
        run = post(f"/deployments/{nightly['id']}/create_flow_run", {})
        state = ""
        for _ in range(240):
            (now,) = post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
            state = now["state"]["type"]
            if state in ("COMPLETED", "FAILED", "CRASHED"):
                break
            time.sleep(1)
        assert state == "COMPLETED", (tmp_path / "log").read_text()[-4000:]
    with pytest.raises(OSError):  # the Prefect server went with it
        urllib.request.urlopen(f"{api}/health", timeout=5)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/data/mlflow/mlflow.db")
    assert str(client.get_model_version_by_alias("signature-verifier", "champion").version) == "1"


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


def test_claims_of_real_writers_are_scored_and_cached(
    system: System, prefect_server: str, kaggle_root: Path, tmp_path: Path
) -> None:
    rows = ["claim_id,questioned,reference"]
    for writer in ("049", "057", "069"):
        genuine = sorted((kaggle_root / "train" / writer).iterdir())
        forged = sorted((kaggle_root / "train" / f"{writer}_forg").iterdir())
        for name, source in (("ref", genuine[0]), ("gen", genuine[1]), ("forg", forged[0])):
            shutil.copy(source, tmp_path / f"{writer}_{name}.png")
        rows += [f"{writer}-{n},{writer}_{n}.png,{writer}_ref.png" for n in ("gen", "forg")]
    (tmp_path / "claims.csv").write_text("\n".join(rows) + "\n")
    first = system.run("score", tmp_path, PREFECT_API_URL=prefect_server)
    assert first.returncode == 0, first.stdout[-3000:]
    assert re.search(r"^6 claims: .* 0 unusable\.$", first.stdout, re.MULTILINE)
    again = system.run("score", tmp_path, PREFECT_API_URL=prefect_server)
    assert re.search(r"'score-\w+' - Finished in state Cached", again.stdout)


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
