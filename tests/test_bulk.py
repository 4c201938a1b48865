"""Bulk scoring end to end: two thousand real claims, and runs that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import real_claims
from conftest import SHARED
from programs import System, environment
from standby import standing_by

from siamese.files import read_json
from siamese.tables import CLAIM_DECISIONS

KILLS = 20


@pytest.fixture(scope="module")
def champion(system: System) -> Path:
    """Folder of the demo's verifier."""
    (found,) = (system.data / "models").rglob("verifier.json")
    return found.parent


def test_two_thousand_real_claims_add_up(
    system: System, kaggle_root: Path, hindi_root: Path, prefect_server: str, tmp_path: Path
) -> None:
    root = tmp_path / "claims"
    truth = real_claims.build(SHARED, root, 2000, [1, 5], broken=20).set_index("claim_id")
    done = system.run("score", root, PREFECT_API_URL=prefect_server)
    assert done.returncode == 3, done.stdout[-2000:]
    folder = max((system.data / "stages" / "score").iterdir(), key=lambda p: p.stat().st_mtime)
    found = CLAIM_DECISIONS.read(folder / "decisions.parquet").set_index("claim_id")
    assert len(found) == len(truth) == 2000
    assert found.index.tolist() == truth.index.tolist()
    counts = found["decision"].value_counts()
    assert counts["unusable"] == 20
    assert counts.sum() == 2000
    told = ", ".join(
        f"{counts.get(name, 0)} {name}" for name in ("accept", "review", "reject", "unusable")
    )
    assert f"2,000 claims: {told}." in done.stdout
    broken = truth["reason"] != ""
    assert (found.loc[broken, "reason"] == truth.loc[broken, "reason"]).all()
    assert truth.loc[broken, "kind"].value_counts().tolist() == [2] * 10
    whole = found.loc[~broken]
    assert (whole["n_references"] == truth.loc[~broken, "n_references"]).all()
    assert whole[["distance", "p_genuine", "log10_lr"]].notna().all(axis=None)
    page = folder.parents[1] / "report"
    page = max(page.iterdir(), key=lambda p: p.stat().st_mtime)
    stretch = read_json(folder / "claims.json")["stretch"]
    assert (f"were multiplied by {stretch:.2f}." in done.stdout) == (stretch > 1)
    header = f"multiplied by {stretch:.2f}" if stretch > 1 else "as they are"
    assert header in (page / "report.html").read_text()
    assert (page / "report.html").stat().st_size < 5_000_000
    assert len(list((page / "thumbnails").iterdir())) > 500


@pytest.fixture
def scorer(system: System, champion: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that forks one to score the demo's claims; see ``score_folder.py``."""
    script = Path(__file__).with_name("score_folder.py")
    claims = system.output_of("example_claims") / "claims"
    with subprocess.Popen(
        [sys.executable, script, claims, champion],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(tmp_path),
    ) as process:  # fmt: skip
        yield process
        assert process.stdin
        process.stdin.close()


def run_and_kill(scorer: subprocess.Popen[str], work: Path, after: float | None) -> int:
    """Score into a folder, killed after some seconds; the exit status, negative when killed."""
    assert scorer.stdin
    assert scorer.stdout
    print(work, file=scorer.stdin, flush=True)
    child = int(scorer.stdout.readline())
    if after is not None:
        time.sleep(after)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return int(scorer.stdout.readline())


def test_killed_anywhere_the_rerun_is_the_same_to_the_byte(
    scorer: subprocess.Popen[str], tmp_path: Path
) -> None:
    calm = tmp_path / "calm"
    assert run_and_kill(scorer, calm, None) == 0
    began = time.monotonic()
    assert run_and_kill(scorer, tmp_path / "timed", None) == 0
    whole = time.monotonic() - began
    expected = (calm / "decisions.parquet").read_bytes()
    assert (tmp_path / "timed" / "decisions.parquet").read_bytes() == expected
    shards = len(list((calm / "ledger").iterdir()))

    chance = random.Random(4)
    killed = kept = 0
    work, before = tmp_path / "0", {}
    while killed < KILLS:
        status = run_and_kill(scorer, work, chance.uniform(0, 0.4 * whole))
        killed += status == -signal.SIGKILL
        now = {
            path.name: path.stat().st_mtime_ns
            for path in (work / "ledger").glob("*.parquet")
            if path.name[0] != "."
        }
        # What was finished before is still there, and was not written again.
        assert before.items() <= now.items()
        kept += len(before)
        before = now
        if status == 0:
            assert (work / "decisions.parquet").read_bytes() == expected
            work, before = tmp_path / str(killed), {}
    assert run_and_kill(scorer, work, None) == 0
    assert (work / "decisions.parquet").read_bytes() == expected
    assert kept >= shards  # the kills did not all come before there was anything to keep


def test_a_killed_command_goes_on_where_it_was(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    root = tmp_path / "claims"
    shutil.copytree(system.output_of("example_claims") / "claims", root)
    (root / "C-0001_questioned.png").unlink()  # not the folder that was scored before
    settings = ["--set", "scoring.shard=1", "--set", "scoring.workers=1"]
    command = [standing_by() / "siamese", "score", root, *settings]
    env = environment(system.home, PREFECT_API_URL=prefect_server)
    with subprocess.Popen(
        command, cwd=system.cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        partial = system.data / "stages" / "score"
        deadline = time.monotonic() + 120
        while len(list(partial.glob(".*.partial/shards/*.parquet"))) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    kept = list(partial.glob(".*.partial/shards/0*.parquet"))
    assert 10 <= len(kept) < 66
    known = CLAIM_DECISIONS.read(kept[0])
    CLAIM_DECISIONS.write(known.assign(reason_detail="Kept."), kept[0], {})
    done = subprocess.run(
        command, cwd=system.cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stdout[-2000:]
    newest = max(
        (p for p in partial.iterdir() if p.name[0] != "."), key=lambda p: p.stat().st_mtime
    )
    decisions = pd.read_csv(newest / "decisions.csv")
    assert len(decisions) == 66
    assert decisions.loc[decisions["reason_detail"] == "Kept.", "claim_id"].tolist() == (
        known["claim_id"].tolist()
    )
    assert not list(partial.glob(".*.partial"))
