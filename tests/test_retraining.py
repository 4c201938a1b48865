"""Training again: nightly, killed, with other data, on servers, deployed."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pytest
from programs import SIAMESE, SMALL, System, environment, free_port, post, serving, siamese

from siamese.config import SourceSettings
from siamese.sources import fetch_and_read
from siamese.tables import IMAGES


def test_served_schedule_runs_the_nightly_flow_when_triggered(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    command = [SIAMESE, "serve", *SMALL, "--set", "training.steps=100", "--port", str(port)]
    command += ["--set", "schedule.cron=30 3 * * *", "--set", "schedule.timezone=Asia/Kolkata"]

    def ask(path: str, body: dict[str, Any]) -> Any:
        return post(f"{api}{path}", body, timeout=20)

    with serving(
        command, f"{api}/health", tmp_path / "log", tmp_path, environment(tmp_path / "prefect")
    ):
        found: list[dict[str, Any]] = []
        for _ in range(60):
            found = ask("/deployments/filter", {})
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
            coming = ask("/flow_runs/filter", wanted)
            if coming:
                break
            time.sleep(1)
        assert {run["expected_start_time"][11:16] for run in coming} == {"22:00"}  # 03:30 there
        run = ask(f"/deployments/{nightly['id']}/create_flow_run", {})
        state = ""
        for _ in range(240):
            (now,) = ask("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
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
