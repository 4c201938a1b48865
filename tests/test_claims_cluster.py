"""Scoring on other machines: several processes with no disk in common, one of them lost."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from programs import System, environment, free_port, serving
from standby import standing_by

from siamese.places import Place
from siamese.store import ContentStore, embedding_schema
from siamese.tables import CLAIM_DECISIONS

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a folder on an S3 server."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    log = tmp_path / "moto.log"
    with serving(command, f"http://127.0.0.1:{port}/", log, tmp_path, environment(tmp_path)):
        yield (
            f"s3://exchange/claims?endpoint_override=127.0.0.1:{port}&scheme=http"
            "&region=us-east-1&allow_bucket_creation=true"
        )


def dask(*arguments: str, cwd: Path, **more: str) -> subprocess.Popen[bytes]:
    cwd.mkdir()
    command = [standing_by() / "python", "-m", "dask", *arguments]
    with (cwd / "log").open("wb") as out:
        return subprocess.Popen(
            command, cwd=cwd, stdout=out, stderr=out, env=environment(cwd, **more)
        )


def test_a_store_may_lie_on_an_object_store(bucket: str) -> None:
    place = Place.of(bucket) / "store"
    place.filesystem.create_dir(place.path)

    def rows(*names: str) -> pd.DataFrame:
        vectors = [np.full(4, ord(name), np.float32) for name in names]
        return pd.DataFrame({"image_id": names, "embedding": vectors})

    one, other = (ContentStore(place, embedding_schema(4)) for _ in range(2))
    one.put(rows("a", "b"))
    other.put(rows("b", "c"))
    place.write("part-damaged.parquet", b"PAR1, and nothing that it should be")
    found = one.get(["a", "b", "c", "d"])
    assert sorted(found.index) == ["a", "b", "c"]
    assert found.loc["c", "embedding"].tolist() == [ord("c")] * 4
    assert place.files(".damaged") == ["part-damaged.parquet.damaged"]
    assert sorted(other.get(["a", "c"]).index) == ["a", "c"]


def stopped_at_work(worker: subprocess.Popen[bytes], scheduler: str, name: str) -> bool:
    """Stop a worker; False, and it goes on, if it had nothing to do just then."""
    with Client(scheduler, timeout=60) as client:
        address = next(
            (at for at, one in client.scheduler_info()["workers"].items() if one["id"] == name), ""
        )
        if not client.processing().get(address):
            return False
        worker.send_signal(signal.SIGSTOP)
        if client.processing()[address]:  # what it has now, nobody else will have done
            return True
        worker.send_signal(signal.SIGCONT)
        return False


def test_a_lost_worker_changes_no_decision(
    system: System, prefect_server: str, bucket: str, tmp_path: Path
) -> None:
    claims = system.output_of("example_claims") / "claims"
    shutil.copytree(system.data / "mlflow", tmp_path / "data" / "mlflow")
    place = Place.of(bucket)
    place.filesystem.create_dir(place.path)
    port = free_port()
    scheduler = f"tcp://127.0.0.1:{port}"
    server = {"PREFECT_API_URL": prefect_server, **KEYS}
    running = [dask("scheduler", "--port", str(port), cwd=tmp_path / "scheduler")]
    for name in ("a", "b"):
        command = ("worker", scheduler, "--nthreads", "1", "--no-nanny", "--name", name)
        running.append(dask(*command, cwd=tmp_path / name, **server))
    command = [
        standing_by() / "siamese", "score", str(claims), "--data-dir", str(tmp_path / "data"),
        "--set", f"scoring.cluster={scheduler}", "--set", f"scoring.exchange={bucket}",
        "--set", "scoring.shard=6", "--set", "scoring.workers=1",
    ]  # fmt: skip
    try:
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment(system.home, **server), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as score:  # fmt: skip
            while not stopped_at_work(running[1], scheduler, "a"):
                assert score.poll() is None, score.stdout and score.stdout.read()[-3000:]
                time.sleep(0.1)
            running[1].send_signal(signal.SIGKILL)
            output, _ = score.communicate(timeout=300)
        assert score.returncode == 3, output[-3000:]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert re.search(r"\d+ pictures embedded elsewhere", output)
    found = Path(re.findall(r"Decisions: +(\S+)", output)[-1]).with_suffix(".parquet")
    known = system.shown("Decisions").with_suffix(".parquet")
    columns = [name for name in CLAIM_DECISIONS.schema.names if name != "scored_at"]
    one, other = (CLAIM_DECISIONS.read(path)[columns] for path in (found, known))
    assert one.equals(other)
    assert not (place / "vectors").files(".parquet")
    assert not (place / "pictures").files(".parquet")
