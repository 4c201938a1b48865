"""Every command in README and docs is run as it stands there, and every piece of code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from example_verifier import trials
from programs import SMALL_VARIABLES, environment, free_port, prefect_serving
from standby import standing_by
from test_training import NETWORK, TRAINING, signatures

from siamese import training
from siamese.config import SourceSettings
from siamese.sources import fetch_and_read

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "deployments" / "README.md", ROOT / "data" / "README.md"]

#: Commands that end when they are ended, and what they say when they are up.
SERVES = {
    "siamese serve": "Retraining at",
    "siamese ui": "Models: ",
    "mlflow models serve": "Uvicorn running|Application startup complete",
    "deployments/up.sh": "started!",
}
#: Commands that run in another way, and where.
ELSEWHERE = {
    "make demo": "conftest.py runs the demo",
    "make test": "this is it",
    "make lint": ".ci/run",
    "make audit": ".ci/run",
    "make release": "by hand, in a clean environment: docs/contributing.md",
    "python3 -m venv .venv": "the Makefile, in .ci/run",
    ".venv/bin/": "the Makefile, in .ci/run",
    "pip install": "the Makefile, in .ci/run",
    "pre-commit": "runs make lint, see below",
    "siamese train --source kaggle$": "test_kaggle_download.py, against a stand-in for Kaggle",
    "prefect deployment run": "test_nights.py starts the same deployments",
    "cp deployments/example.env": "no container engine here: deployments/README.md says so",
    "docker compose": "no container engine here: deployments/README.md says so",
    "dask ": "test_claims_cluster.py",
    "siamese score claims --set scoring.cluster": "test_claims_cluster.py",
}
#: Measurements of minutes and hours, with less to measure.
SMALLER = {
    "python benchmarks/accuracy.py --steps 250": "python benchmarks/accuracy.py --help",
    "python benchmarks/accuracy_folds.py": "python benchmarks/accuracy_folds.py --help",
    "python benchmarks/recalibration.py data ../shared/data/BHSig260/Hindi": (
        "python benchmarks/recalibration.py --help"
    ),
    "python benchmarks/large_scans.py data": "python benchmarks/large_scans.py --help",
    "python benchmarks/throughput.py": "python benchmarks/throughput.py --claims 20 --rounds 1",
    "python benchmarks/training_step.py": "python benchmarks/training_step.py --rounds 1 --steps 1",
    "python benchmarks/orchestration.py data": (
        "python benchmarks/orchestration.py data --claims 40"
    ),
    "python benchmarks/growth.py data": "python benchmarks/growth.py data --claims 20",
    "python benchmarks/lookup.py": (
        "python benchmarks/lookup.py --stored 2000 --wanted 1000 --rounds 1"
    ),
    "make test-fast": "make --dry-run test-fast",
}


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def commands() -> dict[str, str]:
    """Each command once, and where it stands first."""
    found: dict[str, str] = {}
    for page in PAGES:
        for block in blocks(page, ""):
            for line in block.strip().splitlines():
                found.setdefault(line, f"{page.relative_to(ROOT)}: {line[:60]}")
    return found


@dataclass(frozen=True)
class Sandbox:
    """A copy of the repository where the demo was run, with the files that pages speak of."""

    folder: Path
    env: dict[str, str]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400, check=False,
        )  # fmt: skip


def layouts(folder: Path) -> None:
    """Drawn signatures, laid out as the Kaggle copy and BHSig260 are, and by manifest."""
    dutch = [*range(1, 11), *range(41, 48), *range(49, 56)]
    hindi = [*range(1, 11), *range(73, 80), *range(81, 88)]
    rows = []
    for seed, name, numbers in ((3, "sign_data/train", dutch), (4, "Hindi", hindi)):
        made = fetch_and_read(SourceSettings(writers=24, images=3), folder / f"drawn{seed}", seed)
        writers = sorted({image.writer for image in made.images})
        for writer, number in zip(writers, numbers, strict=True):
            for count, image in enumerate(i for i in made.images if i.writer == writer):
                forged = image.kind == "skilled_forgery"
                source = made.root / image.path
                target = (
                    folder
                    / name
                    / (
                        f"{number:03d}/H-S-{number}-{'GF'[forged]}-{count}.tif"
                        if name == "Hindi"
                        else f"{number:03d}{'_forg' * forged}/{count}.png"
                    )
                )
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
                if name != "Hindi":
                    rows.append((str(source.relative_to(folder)), writer, image.kind))
    table = pd.DataFrame(rows, columns=["path", "writer", "kind"])
    table.to_csv(folder / "signatures.csv", index=False)
    genuine = table[table["kind"] == "genuine"]
    for writer in ("eva", "tom"):
        (folder / "references" / writer).mkdir(parents=True)
        mine = genuine[genuine["writer"] == writers[len(writer) % 2]]["path"]
        for path in mine:
            shutil.copy(folder / path, folder / "references" / writer)
    first, second = genuine["path"].iloc[:2]
    shutil.copy(folder / first, folder / "reference.png")
    shutil.copy(folder / second, folder / "questioned.png")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    outer = tmp_path_factory.mktemp("docs")
    folder = outer / "repository"
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    layouts(folder)
    kaggle = outer / "shared" / "data" / "kaggle-signature-verification"
    shutil.copytree(folder / "sign_data", kaggle / "sign_data")
    with prefect_serving(outer / "prefect", outer) as api:
        env = environment(
            outer / "prefect",
            PREFECT_API_URL=api,
            PATH=f"{standing_by()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            BROWSER="true",
            PORT=str(free_port()),
            PYTHON=str(standing_by() / "python"),
            **SMALL_VARIABLES,
            SIAMESE_POLICY__BOOTSTRAP="100",
            SIAMESE_RETENTION__CHALLENGERS="0",
            SIAMESE_SOURCES=json.dumps([{"kind": "synthetic", "writers": 24, "images": 3}]),
        )
        made = Sandbox(folder, env)
        small = "--set training.steps=20 --set training.evaluate_every=10"
        done = made.run(f"siamese demo {small}")
        assert done.returncode == 0, done.stdout[-3000:]
        # From here on, as a person who has this in their environment.
        env |= {"SIAMESE_TRAINING__STEPS": "10", "SIAMESE_TRAINING__EVALUATE_EVERY": "5"}
        claims = next(folder.glob("data/stages/example_claims/*/truth.csv"))
        truth = pd.read_csv(claims)
        label = truth["kind"].map({"genuine": "genuine", "skilled_forgery": "forged"})
        known = truth.assign(verdict=label).dropna()[["claim_id", "verdict"]]
        known.to_csv(folder / "verdicts.csv", index=False)
        yield made


def start_and_end(sandbox: Sandbox, line: str, sign: str) -> None:
    log = sandbox.folder / "serving.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            ["bash", "-c", line], cwd=sandbox.folder, env=sandbox.env, stdout=out, stderr=out,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            for _ in range(240):
                if re.search(sign, log.read_text()):
                    return
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
            raise AssertionError(log.read_text()[-3000:])
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("line", commands(), ids=[*commands().values()])
def test_a_command_of_the_docs(line: str, request: pytest.FixtureRequest) -> None:
    for start in ELSEWHERE:
        if re.match(start, line) if start.endswith("$") else line.startswith(start):
            return
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    if line.startswith("export "):
        name, _, value = line.removeprefix("export ").partition("=")
        sandbox.env[name] = value
        return
    for start, sign in SERVES.items():
        if line.startswith(start):
            start_and_end(sandbox, line, sign)
            return
    if "benchmarks/throughput" in line or "benchmarks/growth" in line:
        request.getfixturevalue("kaggle_root")
        sandbox.env["SIGNATURE_DATA"] = str(request.getfixturevalue("kaggle_root").parents[1])
    done = sandbox.run(SMALLER.get(line, line))
    # 3: some of the example's claims are made to be unusable.
    assert done.returncode in (0, 3), done.stdout[-3000:]


def test_before_a_commit_runs_what_ci_runs() -> None:
    assert "entry: make lint" in (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.search(r"^make audit lint\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


# --- code ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pieces() -> list[dict[str, Any]]:
    """What the code on the contributors' page defines, a module a block."""
    made = []
    for number, block in enumerate(blocks(ROOT / "docs" / "contributing.md", "python")):
        module = ModuleType(f"piece{number}")
        exec(compile(block, module.__name__, "exec"), module.__dict__)
        made.append(module.__dict__)
    return made


def test_the_source_in_one_file_lists(pieces: list[dict[str, Any]], tmp_path: Path) -> None:
    for name in ("001_g_01", "001_f_01", "002_g_01", "notes"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    listing = pieces[0]["read"](tmp_path)
    assert [(i.writer, i.kind) for i in listing.images] == [
        ("001", "skilled_forgery"), ("001", "genuine"), ("002", "genuine"),
    ]  # fmt: skip
    assert [name for name, _ in listing.unread] == ["notes.png"]


def test_the_loss_in_one_file_trains(
    pieces: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "batch_contrastive", pieces[1]["hardest"])
    torch.manual_seed(0)
    made = training.train(signatures(range(6)), signatures(range(6, 9)), NETWORK, TRAINING, 1)
    assert all(np.isfinite(epoch.loss) for epoch in made.history)


def test_the_metric_in_one_file_has_an_interval(pieces: list[dict[str, Any]]) -> None:
    found = pieces[2]["estimate"](trials(1))
    assert 0 <= found.low <= found.value <= found.high <= 1
