"""Disks that fill up, servers that go away, clocks that jump: the end is the same."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_verifier import small_verifier
from mlflow import MlflowClient
from programs import environment, free_port, prefect_serving, serving
from runner import Runner, Step, running
from standby import standing_by
from test_training import NETWORK, TRAINING, signatures

from siamese import files
from siamese.claims import hash_claims
from siamese.config import ImagingSettings, ScoringSettings
from siamese.enrolment import enrol, read_enrolment, read_references
from siamese.feedback import Verdict, keep
from siamese.intake import read_claims
from siamese.model import save_weights
from siamese.scoring import Batch, score_claims
from siamese.sources import synthetic
from siamese.tables import CLAIM_DECISIONS
from siamese.training import train

MODEL = "signature-verifier"
NOW = datetime(2026, 1, 2, tzinfo=UTC)

# --- a full disk at each write ---------------------------------------------------------------


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    synthetic.write_claims(folder, seed=1, claims=30)
    return folder / "claims"


def _score(claims: Path, work: Path) -> bytes:
    found = read_claims(claims)[:9]
    enrolment = read_enrolment(work / "enrolled")
    batch = Batch(claims, enrolment, work / "store", work / "ledger", "version 1", NOW)
    settings = ScoringSettings(shard=4, workers=1)
    made = score_claims(found, batch, small_verifier(), settings)
    CLAIM_DECISIONS.write(made, work / "decisions.parquet", {})
    return (work / "decisions.parquet").read_bytes()


def _enrol(claims: Path, work: Path) -> bytes:
    references = work / "references"
    for claim in ("C-0001", "C-0002"):
        (references / claim).mkdir(parents=True, exist_ok=True)
        for path in claims.glob(f"{claim}_reference_*"):
            shutil.copy(path, references / claim)
    found = read_references(references)
    enrol(found, ImagingSettings(), work / "store", work / "enrolled", NOW, workers=1)
    table = read_enrolment(work / "enrolled").table
    return table.sort_values(["writer_id", "name"]).to_csv(index=False).encode()


def _feedback(claims: Path, work: Path) -> bytes:
    found = read_claims(claims)[:3]
    verdicts = {claim.claim_id: Verdict("genuine", "") for claim in found}
    keep(found, hash_claims(found), verdicts, ImagingSettings(), work / "feedback")
    names = sorted(path.name for path in (work / "feedback").rglob("*.png"))
    return (work / "feedback" / "claims.csv").read_bytes() + "".join(names).encode()


def _train(claims: Path, work: Path) -> bytes:
    sets = signatures(range(4)), signatures(range(4, 6))
    settings = TRAINING.model_copy(update={"steps": 3, "evaluate_every": 1})
    made = train(*sets, NETWORK, settings, 1, checkpoint=work / "checkpoint.pt")
    return save_weights(made.network)


@pytest.mark.parametrize("job", [_score, _enrol, _feedback, _train])
def test_a_disk_that_is_full_at_any_write(
    job: Callable[[Path, Path], bytes], claims: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fsync = os.fsync
    writes = full_at = 0

    def sync(handle: int) -> None:
        nonlocal writes
        writes += 1
        if writes == full_at:
            # What was written before the disk was full is half of the file.
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", sync)
    (tmp_path / "calm").mkdir()
    expected = job(claims, tmp_path / "calm")
    most = writes
    assert most >= 3
    for full_at in range(1, most + 1):
        work, writes = tmp_path / str(full_at), 0
        work.mkdir()
        with pytest.raises(OSError, match="No space left"):
            job(claims, work)
        assert not list(work.rglob("*.tmp"))
        assert job(claims, work) == expected
    print(f"{job.__name__}: {most} writes")


# --- whole flows -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def api(api_home: Path) -> Iterator[str]:
    with prefect_serving(api_home, api_home) as url:
        yield url


@pytest.fixture(scope="module")
def trained(
    api: str, claims: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Runner, pd.DataFrame]]:
    """A folder with a champion, and its decisions on the claims."""
    with running(tmp_path_factory.mktemp("trained"), api) as runner:
        assert runner.run(["train", [], {}]) == 0, runner.log[-3000:]
        assert runner.run(["score", [claims], {}]) == 0, runner.log[-3000:]
        yield runner, decisions(runner)


def decisions(runner: Runner) -> pd.DataFrame:
    """Those of its only output."""
    (path,) = runner.data.glob("stages/score/[!.]*/decisions.parquet")
    return CLAIM_DECISIONS.read(path).drop(columns="scored_at")


def forget_decisions(runner: Runner) -> None:
    """So that everything about claims is made again."""
    shutil.rmtree(runner.data / "store")
    for stage in ("score", "explain", "drift", "report"):
        shutil.rmtree(runner.data / "stages" / stage)


SLOWLY = {"scoring.shard": 1}


def test_two_scoring_runs_on_one_folder_at_once(
    trained: tuple[Runner, pd.DataFrame], claims: Path, api: str
) -> None:
    one, expected = trained
    forget_decisions(one)
    step: Step = ["score", [claims], SLOWLY]
    with running(one.folder, api) as other:
        one.start(step)
        other.start(step)
        assert (one.end(), other.end()) == (0, 0), one.log[-3000:]
    assert decisions(one).equals(expected)


def test_outputs_cache_and_checkpoint_that_were_damaged(
    trained: tuple[Runner, pd.DataFrame], claims: Path
) -> None:
    runner, expected = trained
    chance = np.random.default_rng(1)
    made = [
        *(path for path in runner.data.glob("stages/*/[!.]*/**/*") if path.is_file()),
        *runner.data.glob("cache/*"),
    ]
    assert len(made) > 30
    for path in made:
        data = bytearray(path.read_bytes())
        if data:
            place = chance.integers(len(data))
            data[place] ^= 1 << chance.integers(8)
            path.write_bytes(data[: max(len(data) - 1, 1)] if chance.random() < 0.3 else data)
    assert runner.run(["score", [claims], {}]) == 0, runner.log[-3000:]
    assert decisions(runner).equals(expected)
    assert "is not as it was written; it is made again" in runner.log
    # A checkpoint: training begins anew, and ends with the same network.
    more = {"training.turn": 5, "training.steps": 40}
    child = runner.start(["train", [], more])
    checkpoint = runner.wait_for("stages/train/.*.partial/checkpoint.pt")
    os.kill(child, signal.SIGKILL)
    runner.end()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert runner.run(["train", [], more]) == 0, runner.log[-3000:]
    assert "The checkpoint was not as it was written: training began anew." in runner.log


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A file system of its own at a folder; gives a function that leaves so many bytes free."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"may not mount a file system here: {done.stderr.decode().strip()}")

    def leave(free: int) -> None:
        filler = folder / "filler"
        filler.unlink(missing_ok=True)
        if free:
            with filler.open("wb") as out:
                os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(folder).free - free)

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_small_disk_that_fills_up(
    trained: tuple[Runner, pd.DataFrame], claims: Path, api: str, tmp_path: Path
) -> None:
    known, expected = trained
    with small_disk(tmp_path / "disk") as leave:
        shutil.copytree(known.data, tmp_path / "disk" / "data")
        (tmp_path / "disk" / "prefect").mkdir()
        with running(tmp_path / "disk", api) as runner:
            forget_decisions(runner)
            failed = 0
            for free in (20_000, 400_000):
                leave(free)
                failed += runner.run(["score", [claims], SLOWLY]) != 0
            assert failed
            shutil.rmtree(runner.data / "models", ignore_errors=True)  # MLflow meets it first
            leave(20_000)
            command = [standing_by() / "siamese", "score", claims, "--data-dir", runner.data]
            command += ["--set", "policy.max_frr=0.11"]
            env = environment(tmp_path / "prefect", PREFECT_API_URL=api)
            told = subprocess.run(
                command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert told.returncode == 1
            assert "The disk is full:" in told.stderr, told.stderr[-3000:]
            assert "what was finished is kept" in told.stderr
            leave(0)
            assert runner.run(["score", [claims], SLOWLY]) == 0, runner.log[-3000:]
            assert decisions(runner).equals(expected)


@contextmanager
def a_server(name: str, port: int, folder: Path) -> Iterator[str]:
    """MLflow or Prefect at a port, with what it knew before; killed at the end."""
    folder.mkdir(exist_ok=True)
    command = {
        "mlflow": ["server", "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/m.db"],
        "prefect": ["server", "start"],
    }[name]
    url = f"http://127.0.0.1:{port}"
    api, health = (f"{url}/api", "/health") if name == "prefect" else (url, "/health")
    command = [str(standing_by() / name), *command, "--port", str(port)]
    env = environment(folder, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with serving(command, api + health, folder / "log", folder, env, end=signal.SIGKILL):
        yield api


def test_a_prefect_server_that_goes_away_and_comes_back(
    trained: tuple[Runner, pd.DataFrame], claims: Path, tmp_path: Path
) -> None:
    known, expected = trained
    forget_decisions(known)
    port, folder = free_port(), tmp_path / "server"
    with running(known.folder, f"http://127.0.0.1:{port}/api") as runner:
        with a_server("prefect", port, folder):
            runner.start(["score", [claims], SLOWLY])
            runner.wait_for("stages/score/.*.partial/shards/000003*.parquet")
        time.sleep(5)
        with a_server("prefect", port, folder):
            assert runner.end() == 0, runner.log[-3000:]
    assert decisions(known).equals(expected)


def test_a_tracking_server_that_goes_away_and_comes_back(
    trained: tuple[Runner, pd.DataFrame], tmp_path: Path
) -> None:
    runner, _ = trained
    port, folder = free_port(), tmp_path / "server"
    more = {
        "training.steps": 60,
        "training.evaluate_every": 6,
        "tracking.uri": f"http://127.0.0.1:{port}",
    }
    with a_server("mlflow", port, folder):
        runner.start(["train", [], more])
        runner.wait_for("stages/train/.*.partial/checkpoint.pt")
    time.sleep(5)
    with a_server("mlflow", port, folder) as url:
        assert runner.end() == 0, runner.log[-3000:]
        client = MlflowClient(url, url)
        (one,) = client.search_runs(["1"])
        points = client.get_metric_history(one.info.run_id, "loss")
        assert [point.step for point in points] == list(range(6, 61, 6))
        assert str(client.get_model_version_by_alias(MODEL, "champion").version) == "1"


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """A database that another process has for itself."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_databases_that_others_have_locked(
    trained: tuple[Runner, pd.DataFrame], api_home: Path
) -> None:
    runner, _ = trained
    runner.start(["train", [], {"training.turn": 7, "training.steps": 60}])
    runner.wait_for("stages/train/.*.partial/checkpoint.pt")
    with locked(runner.data / "mlflow" / "mlflow.db"):
        time.sleep(8)  # longer than SQLite's own patience
    with locked(api_home / "prefect.db"):
        time.sleep(8)
    assert runner.end() == 0, runner.log[-3000:]
    uri = f"sqlite:///{runner.data}/mlflow/mlflow.db"
    client = MlflowClient(uri, uri)
    turns = [one.tags["turn"] for one in client.search_model_versions(f"name = '{MODEL}'")]
    assert turns.count("7") == 1


#: The clock of a process, ten years off from the moment that a file is there.
_CLOCK = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long off(void) { return access(getenv("JUMPED"), F_OK) ? 0 : atol(getenv("JUMP")); }
int clock_gettime(clockid_t which, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, which, now);
  if (which == CLOCK_REALTIME) now->tv_sec += off();
  return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec then; (void)zone;
  clock_gettime(CLOCK_REALTIME, &then);
  now->tv_sec = then.tv_sec; now->tv_usec = then.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps(
    trained: tuple[Runner, pd.DataFrame], claims: Path, api: str, tmp_path: Path, years: int
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a program beyond Python: a C compiler (apt-get install gcc)")
    known, expected = trained
    forget_decisions(known)
    (tmp_path / "clock.c").write_text(_CLOCK)
    library, jumped = tmp_path / "clock.so", tmp_path / "jumped"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)
    more = {"LD_PRELOAD": str(library), "JUMPED": str(jumped), "JUMP": str(years * 31557600)}
    with running(known.folder, api, **more) as runner:
        runner.start(["score", [claims], SLOWLY])
        runner.wait_for("stages/score/.*.partial/shards/000003*.parquet")
        jumped.touch()
        assert runner.end() == 0, runner.log[-3000:]
        assert decisions(known).equals(expected)
        # What was made before the jump seems old, or not made yet: nothing that people keep goes.
        for step in (["watch", [], {}], ["prune", [], {}], ["score", [claims], {}]):
            assert runner.run(step) == 0, runner.log[-3000:]
        assert decisions(known).equals(expected)
        if years > 0:  # the champion is of long ago
            assert runner.run(["nightly", [], {}]) == 0, runner.log[-3000:]
            assert "older than schedule.max_age_days" in runner.log
