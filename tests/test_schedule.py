"""The schedule that `siamese serve` keeps."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pytest
from programs import SIAMESE, SMALL, environment, free_port, post, serving


def test_served_schedule_runs_the_nightly_flow_when_triggered(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    # Afresh: only then does Prefect read the address of the server that this starts.
    command = [SIAMESE, "serve", *SMALL, "--set", "training.steps=20", "--port", str(port)]
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
        nightly, drift = sorted(found, key=lambda one: one["name"], reverse=True)
        (schedule,) = nightly["schedules"]
        assert schedule["schedule"]["cron"] == "30 3 * * *"
        assert schedule["schedule"]["timezone"] == "Asia/Kolkata"
        (schedule,) = drift["schedules"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (
            "0 6 * * 1", "Asia/Kolkata",
        )  # fmt: skip
        second = subprocess.run(
            [*command, "--port", str(free_port())],
            cwd=tmp_path, env=environment(tmp_path / "prefect"), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "A siamese serve runs with" in second.stderr
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
            if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                break
            time.sleep(1)
        assert state == "COMPLETED", (tmp_path / "log").read_text()[-4000:]
    with pytest.raises(OSError):  # the Prefect server went with it
        urllib.request.urlopen(f"{api}/health", timeout=5)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/data/mlflow/mlflow.db")
    assert str(client.get_model_version_by_alias("signature-verifier", "champion").version) == "1"
