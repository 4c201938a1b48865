"""Every flow, killed at random points and started again: nothing lost, nothing there twice.

``KILLS=20 pytest tests/test_kills.py`` kills each flow more often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from programs import prefect_serving
from runner import Step, running

from siamese.enrolment import enrolment_folder, read_enrolment
from siamese.files import sha256_of_file
from siamese.sources import synthetic
from siamese.tables import CLAIM_DECISIONS

KILLS = int(os.environ.get("KILLS", "1"))
MODEL = "signature-verifier"


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    """Each flow with its arguments, in an order in which each has something to do."""
    synthetic.write_claims(tmp_path, seed=1, claims=40)
    claims, references = tmp_path / "claims", tmp_path / "references"
    table = pd.read_csv(claims / "claims.csv")
    truth = pd.read_csv(tmp_path / "truth.csv").set_index("claim_id")["kind"]
    for claim in ("C-0001", "C-0002"):
        (references / claim).mkdir(parents=True)
        for path in claims.glob(f"{claim}_reference_*"):
            shutil.copy(path, references / claim)
    table["writer_id"] = table["claim_id"].where(table["claim_id"].isin(["C-0001", "C-0002"]), "")
    table.to_csv(claims / "claims.csv", index=False)
    kinds = {"genuine": "genuine", "skilled_forgery": "forged", "random": "forged"}
    label = truth.map(kinds).dropna()
    verdicts = tmp_path / "verdicts.csv"
    label.rename("verdict").to_csv(verdicts)
    labelled = claims / "labelled.csv"
    known = table[table["claim_id"].isin(label.index)]
    known.assign(label=known["claim_id"].map(label)).to_csv(labelled, index=False)
    exchange = {"scoring.exchange": str(tmp_path / "exchange")}
    return [
        ["prepare", [], {}],
        ["train", [], {}],
        ["enrol", [references], {}],
        ["embed", [claims], exchange],
        ["score", [claims], {}],
        ["feedback", [claims, verdicts], {}],
        ["recalibrate", [labelled], {}],
        ["rollback", [""], {}],
        ["nightly", [], {"training.turn": 1}],
        ["watch", [], {}],
        ["prune", [], {"retention.challengers": 0}],
        ["forget", ["C-0001"], {}],
    ]


def state(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves, but for dates and places."""
    data = folder / "data"
    client = mlflow.MlflowClient(f"sqlite:///{data}/mlflow/mlflow.db")
    weights = sorted(
        sha256_of_file(path) for path in data.glob("stages/train/*/network.safetensors")
    )
    decisions = [
        CLAIM_DECISIONS.read(path).drop(columns="scored_at").to_csv()
        for path in data.glob("stages/score/*/decisions.parquet")
    ]
    made = {}
    if (data / "mlflow").is_dir():
        try:
            registered = client.get_registered_model(MODEL)
        except mlflow.MlflowException:
            registered = None
        if registered:
            history = json.loads(registered.tags["champion_history"])
            made = {
                "aliases": registered.aliases,
                "history": [(one["version"], one["why"]) for one in history],
                "versions": sorted(
                    str(one.version) for one in client.search_model_versions(f"name = '{MODEL}'")
                ),
                "runs": len(client.search_runs(["1"])),
            }
    feedback = data / "feedback" / "claims.csv"
    enrolled = read_enrolment(enrolment_folder(data)).table
    return {
        "weights": weights,
        "decisions": sorted(decisions),
        "registry": made,
        "feedback": feedback.read_text() if feedback.is_file() else "",
        "enrolled": sorted(enrolled["name"]),
        "partial": [path.name for path in data.glob("stages/*/.*.partial")],
        "unfinished": [path.name for path in data.rglob(".*.tmp")],
    }


def test_every_flow_killed_at_random_ends_as_if_it_had_not_been(
    steps: list[Step], tmp_path: Path
) -> None:
    chance = random.Random(7)
    with (
        prefect_serving(tmp_path / "prefect", tmp_path) as api,
        running(tmp_path / "calm", api) as calm,
        running(tmp_path / "killed", api) as killed,
    ):
        hit = 0
        for step in steps:
            began = time.monotonic()
            assert calm.run(step) == 0, (step, calm.log[-4000:])
            whole = time.monotonic() - began
            times = 0
            for _ in range(KILLS):
                times += killed.run(step, chance.uniform(0, whole)) == -signal.SIGKILL
            assert killed.run(step) == 0, (step, killed.log[-4000:])
            hit += times
            print(f"{step[0]}: {whole:.1f} s, killed {times} times")
            expected, found = state(calm.folder), state(killed.folder)
            for part, value in expected.items():
                assert found[part] == value, (step, part, times)
        assert hit >= len(steps) / 2  # some end before their turn comes
