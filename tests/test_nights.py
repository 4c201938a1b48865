"""Nights in a row through a real Prefect server, worker and schedule, with faults in between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
from programs import SMALL_VARIABLES, environment, free_port, post
from standby import standing_by

from siamese.config import SourceSettings
from siamese.sources import fetch_and_read

ROOT = Path(__file__).parents[1]
MODEL = "signature-verifier"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Nights:
    """The system that ``deployments/up.sh`` brings up, seen through its interfaces."""

    folder: Path
    api: str
    env: dict[str, str]
    team: list[dict[str, str]] = field(default_factory=list)
    batches: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def up(self) -> Iterator[None]:
        log = self.folder / "up.log"
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [ROOT / "deployments" / "up.sh"],
                env=self.env, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            for _ in range(720):
                if "started!" in log.read_text():
                    break
                assert self.process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
            else:
                raise AssertionError(log.read_text()[-3000:])
            yield
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGTERM)
                self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL for the server, the worker and what it runs."""
        assert self.process is not None
        for pid in (*_below(self.process.pid), self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def let_know(self, url: str) -> None:
        """Save the block that the settings name."""
        env = {**self.env, "PREFECT_API_URL": self.api}
        subprocess.run([sys.executable, "-c", _BLOCK, url], env=env, check=True)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return post(f"{self.api}{path}", body, timeout=30)

    def start(self) -> str:
        wanted = {"deployments": {"name": {"any_": ["nightly"]}}}
        (nightly,) = self.post("/deployments/filter", wanted)
        run: str = self.post(f"/deployments/{nightly['id']}/create_flow_run", {})["id"]
        return run

    def end(self, run: str) -> str:
        """The type of its last state."""
        for _ in range(1200):
            if (now := self.state(run)) in ENDED:
                return now
            time.sleep(0.5)
        raise AssertionError(f"{run} is still {now}\n{self.log(run)}")

    def state(self, run: str) -> str:
        (now,) = self.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return str(now["state"]["type"])

    def log(self, run: str) -> str:
        told = self.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        return "\n".join(line["message"] for line in told)

    def verdict(self, run: str) -> str:
        wanted = {"flow_run_id": {"any_": [run]}, "key": {"any_": ["promote"]}}
        (artifact,) = self.post("/artifacts/filter", {"artifacts": wanted})
        return str(artifact["data"]).removeprefix("## Verdict").strip()

    def registry(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.data}/mlflow/mlflow.db")

    def versions(self) -> list[str]:
        found = self.registry().search_model_versions(f"name = '{MODEL}'")
        return sorted(str(one.version) for one in found)

    def champion(self) -> str:
        return str(self.registry().get_model_version_by_alias(MODEL, "champion").version)

    def add_writers(self) -> None:
        """Eight more in the folder, as a site's would come in."""
        self.batches += 1
        name = f"batch{self.batches}"
        made = fetch_and_read(
            SourceSettings(writers=8, images=4), self.folder / name, seed=100 + self.batches
        )
        shutil.copytree(made.root, self.folder / "signatures" / name)
        rows = [f"{name}/{i.path},{self.batches}-{i.writer},{i.kind}\n" for i in made.images]
        with (self.folder / "signatures" / "manifest.csv").open("a") as table:
            table.writelines(rows)

    def checkpoint(self, run: str) -> Path:
        """That of the training which is under way, as soon as it is there."""
        while True:
            for _ in range(20):
                found = list(self.data.glob("stages/train/.*.partial/checkpoint.pt"))
                if found:
                    return found[0]
                time.sleep(0.05)
            assert self.state(run) not in ENDED, f"no checkpoint was written\n{self.log(run)}"


_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name="team", url=sys.argv[1], json_data={"subject": "{{subject}}", "body": "{{body}}"}
).save("team")
"""


@contextmanager
def receiving(told: list[dict[str, str]]) -> Iterator[str]:
    """A web server of the team's own, that keeps what it is told."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def _below(pid: int) -> list[int]:
    """All processes that came of one, the youngest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (*_below(child), child)]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """The system from a clean start, with the signatures of 24 writers."""
    folder = tmp_path_factory.mktemp("nights")
    port = free_port()
    signatures = folder / "signatures" / "manifest.csv"
    signatures.parent.mkdir()
    signatures.write_text("path,writer,kind\n")
    env = environment(
        folder / "prefect",
        PORT=str(port),
        PYTHON=str(standing_by() / "python"),
        SIAMESE_DATA_DIR=str(folder / "data"),
        SIAMESE_SOURCES=json.dumps([{"kind": "manifest", "path": str(signatures)}]),
        **SMALL_VARIABLES,
        SIAMESE_TRAINING__STEPS="40",
        SIAMESE_TRAINING__EVALUATE_EVERY="5",
        SIAMESE_POLICY__BOOTSTRAP="100",
        SIAMESE_SCHEDULE__NOTIFY="custom-webhook/team",
    )
    made = Nights(folder, f"http://127.0.0.1:{port}/api", env)
    for _ in range(3):
        made.add_writers()
    with receiving(made.team) as url, made.up():
        made.let_know(url)
        yield made


def test_the_first_night_makes_a_champion(nights: Nights) -> None:
    run = nights.start()
    assert nights.end(run) == "COMPLETED", nights.log(run)
    assert nights.verdict(run) == "Version 1 is the first, and the champion."
    assert nights.versions() == [nights.champion()] == ["1"]


def test_a_night_with_nothing_new_is_skipped_with_the_reason(nights: Nights) -> None:
    run = nights.start()
    assert nights.end(run) == "COMPLETED"
    assert nights.verdict(run) == (
        "Skipped: data, settings and code are those of version 1, and it is not older than 30 "
        "days. It is the champion."
    )
    assert nights.versions() == ["1"]


def test_new_writers_make_a_challenger_and_two_nights_never_overlap(nights: Nights) -> None:
    nights.add_writers()
    both = [nights.start(), nights.start()]
    ends = {nights.end(run): run for run in both}
    assert set(ends) == {"CANCELLED", "COMPLETED"}
    told = nights.verdict(ends["COMPLETED"])
    assert re.match(r"(Promoted|Not promoted): EER_skilled differs by [+-]\d", told), told
    assert nights.versions() == ["1", "2"]
    assert nights.champion() == ("2" if told.startswith("Promoted") else "1")


def test_a_fault_in_training_leaves_the_champion(nights: Nights) -> None:
    before = nights.champion(), nights.versions()
    nights.add_writers()
    run = nights.start()
    checkpoint = nights.checkpoint(run)
    checkpoint.unlink()
    checkpoint.mkdir()  # the next one cannot be written
    assert nights.end(run) == "FAILED"
    assert (nights.champion(), nights.versions()) == before
    (failed,) = nights.registry().search_runs(["1"], "attributes.status = 'FAILED'")
    assert failed.info.run_name.startswith("train-")
    checkpoint.rmdir()


def test_a_fault_in_registration_leaves_the_champion_and_no_version(nights: Nights) -> None:
    before = nights.champion(), nights.versions()
    artifacts = nights.data / "mlflow" / "artifacts"
    artifacts.rename(artifacts.with_name("away"))
    artifacts.write_text("no folder to put a model in")
    run = nights.start()
    assert nights.end(run) == "FAILED"
    assert (nights.champion(), nights.versions()) == before
    artifacts.unlink()
    artifacts.with_name("away").rename(artifacts)
    again = nights.start()
    assert nights.end(again) == "COMPLETED", nights.log(again)
    assert nights.versions() == ["1", "2", "3"]


def test_the_team_was_told_of_each_night(nights: Nights) -> None:
    for _ in range(60):  # the last one may be on its way
        if len(nights.team) == 6:
            break
        time.sleep(0.5)
    ends = [one["subject"].rpartition(": ")[2] for one in nights.team]
    assert ends == ["Completed", "Completed", "Completed", "Failed", "Failed", "Completed"]
    assert nights.team[1]["body"].startswith("Skipped: ")


def test_a_killed_worker_goes_on_from_the_checkpoint(nights: Nights) -> None:
    nights.add_writers()
    nights.checkpoint(nights.start())
    nights.kill()
    with nights.up():
        run = nights.start()  # not kept waiting by the dead one
        assert nights.end(run) == "COMPLETED", nights.log(run)
        assert nights.versions() == ["1", "2", "3", "4"]
        (training,) = nights.registry().search_runs(
            ["1"], order_by=["attributes.start_time DESC"], max_results=1
        )
        steps = [p.step for p in nights.registry().get_metric_history(training.info.run_id, "loss")]
        assert steps == list(range(5, 41, 5))


def test_what_does_not_end_with_the_system_is_killed(tmp_path: Path) -> None:
    stays = tmp_path / "stays"
    stays.write_text(
        '#!/bin/sh\ncase "$*" in *"worker start"*) trap "" INT TERM; echo $$ >"$0.pid"\n'
        "  while :; do sleep 1; done;; esac\n"
    )
    stays.chmod(0o755)
    env = environment(tmp_path, PYTHON=str(stays), PREFECT_API_URL="http://127.0.0.1:9/api")
    up = subprocess.Popen([ROOT / "deployments" / "up.sh"], env=env, start_new_session=True)
    worker = stays.with_name("stays.pid")
    while not (worker.exists() and worker.read_text()):
        assert up.poll() is None
        time.sleep(0.1)
    pid = int(worker.read_text())
    os.killpg(up.pid, signal.SIGTERM)
    try:
        up.wait(60)
        assert not Path(f"/proc/{pid}").exists()
    finally:
        up.kill()
        with suppress(ProcessLookupError):  # in a process group of its own
            os.kill(pid, signal.SIGKILL)
