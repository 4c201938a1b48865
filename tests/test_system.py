"""What the demo leaves: every stage run, a champion with its figures, decisions, a model alone."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from programs import System, environment, free_port, post, serving

from siamese.embedding import embed
from siamese.files import read_json
from siamese.loading import load_settings
from siamese.model import build_network
from siamese.pairwise import equal_errors
from siamese.preparing import canvas_store, canvases_of
from siamese.tables import CLAIM_DECISIONS, IMAGES, PAIRS, provenance_of
from siamese.training import SignatureSet

STAGES = (
    "ingest", "audit", "prepare", "split", "pairs", "train", "calibrate", "evaluate",
    "register", "example_claims", "score", "report",
)  # fmt: skip


def test_demo_runs_every_stage_and_says_where_things_are(system: System) -> None:
    assert system.code == 0, system.output[-4000:]
    for stage in STAGES:
        assert re.search(rf"Task run '{stage}-\w+' - Finished in state Completed", system.output)
    assert re.search(r"Training: step 10 of 20, .* about .* left", system.output)
    for label in ("Decisions: ", "Report: ", "Registry: "):
        assert label in system.output
    for path in re.findall(r"(?:Decisions|Report): +(\S+)", system.output):
        assert Path(path).is_file()


def test_demo_decides_on_every_claim(system: System) -> None:
    truth = pd.read_csv(system.output_of("example_claims") / "truth.csv")
    path = system.shown("Decisions").with_suffix(".parquet")
    decisions = CLAIM_DECISIONS.read(path)
    assert sorted(decisions["claim_id"]) == sorted(truth["claim_id"])
    as_csv = pd.read_csv(system.shown("Decisions"))
    assert as_csv["claim_id"].tolist() == decisions["claim_id"].tolist()
    merged = decisions.merge(truth, on="claim_id").set_index("claim_id")
    accepted = (merged["decision"] == "accept").groupby(merged["kind"]).mean()
    assert accepted["genuine"] > accepted["skilled_forgery"]
    assert accepted["random"] == 0
    assert {"seed", "code_version", "config", "claims_fingerprint"} <= set(provenance_of(path))


def test_demo_trains_what_an_untrained_network_cannot(system: System) -> None:
    settings = load_settings(None, {"data_dir": str(system.data)})
    images = IMAGES.read(system.output_of("split") / "images.parquet")
    pairs = PAIRS.read(system.output_of("pairs") / "split=test" / "part-0.parquet")
    mine = images[images["image_id"].isin({*pairs["reference_id"], *pairs["questioned_id"]})]
    store = canvas_store(system.data / "store", settings.imaging)
    files = [(row.image_id, Path(row.path)) for row in mine.itertuples()]
    signatures = SignatureSet(
        canvases_of(files, settings.imaging, store),
        mine["writer"].to_numpy(str),
        (mine["kind"] == "genuine").to_numpy(),
        mine["image_id"].to_numpy(str),
    )
    vectors = embed(build_network(settings.network, 1), signatures.canvases)
    untrained = equal_errors(torch.from_numpy(vectors), signatures.writers, signatures.genuine)
    figures = read_json(system.output_of("evaluate") / "evaluation.json")[0]["figures"]
    assert untrained[0] > 0.30
    assert figures["eer_skilled"]["value"] < untrained[0] - 0.05
    assert figures["eer_random"]["value"] < 0.20


def test_demo_registers_a_champion_with_everything_in_its_run(system: System) -> None:
    client = system.client()
    version = client.get_model_version_by_alias("signature-verifier", "champion")
    assert "EER, skilled forgeries" in version.description
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.steps"] == "20"
    assert run.inputs.dataset_inputs[0].dataset.digest == system.output_of("split").name
    assert [m.step for m in client.get_metric_history(run.info.run_id, "eer_skilled")] == list(
        range(5, 21, 5)
    )
    for name in ("eer_skilled", "eer_random", "frr", "far_skilled", "auc_mixed", "cllr"):
        for suffix in ("", "_low", "_high"):
            assert f"test_1ref_{name}{suffix}" in run.data.metrics
    assert "test_5ref_eer_skilled" in run.data.metrics
    names = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"figures", "model_card.md", "evaluation.json", "probes.json"} <= names
    pictures = {Path(a.path).name for a in client.list_artifacts(run.info.run_id, "figures")}
    assert pictures == {
        "decisions.png", "det.png", "distances.png", "hardest_pairs.png", "roc.png", "training.png",
    }  # fmt: skip


def test_model_holds_no_pickle_of_ours(system: System) -> None:
    names = [path.name for path in (system.data / "models").rglob("*") if path.is_file()]
    assert "weights.safetensors" in names
    assert "imaging.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".pth"))]


def test_second_demo_is_all_cache_hits(system: System) -> None:
    again = system.run("demo")
    assert again.returncode == 0, again.stdout[-3000:]
    for stage in STAGES:
        assert re.search(rf"Task run '{stage}-\w+' - Finished in state Cached", again.stdout), stage
    assert "Training: step" not in again.stdout


_PREDICT = """
import base64, json, sys
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/signature-verifier@champion")
pairs = pd.DataFrame(json.loads(sys.stdin.read()))
print(model.predict(pairs).to_json(orient="records"))
"""


def example_pairs(system: System) -> list[dict[str, str]]:
    root = system.output_of("example_claims") / "claims"

    def text(name: str) -> str:
        return base64.b64encode((root / name).read_bytes()).decode()

    reference = text("C-0001_reference_1.png")
    return [
        {"reference": reference, "questioned": text("C-0001_questioned.png")},
        {"reference": reference, "questioned": base64.b64encode(b"no picture").decode()},
    ]


def test_model_loads_in_a_fresh_process_without_this_project(
    system: System, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PREDICT, f"sqlite:///{system.data}/mlflow/mlflow.db"],
        input=json.dumps(example_pairs(system)),
        env=environment(tmp_path, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    good, bad = json.loads(done.stdout.splitlines()[-1])
    assert good["decision"] in ("accept", "review", "reject")
    assert 0 <= good["distance"] <= 2
    assert 0 <= good["p_genuine"] <= 1
    assert (bad["decision"], bad["reason"]) == ("unusable", "questioned_unreadable")


def test_model_serves_pairs_over_http(system: System, tmp_path: Path) -> None:
    port = free_port()
    database = f"sqlite:///{system.data}/mlflow/mlflow.db"
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local",
        "-m", "models:/signature-verifier@champion", "-h", "127.0.0.1", "-p", str(port),
    ]  # fmt: skip
    env = environment(tmp_path, MLFLOW_TRACKING_URI=database)
    # The server starts its workers with the programs on the path.
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"

    root = system.output_of("example_claims") / "claims"
    env["SIAMESE_PICTURES"] = str(root)

    def ask(pairs: list[dict[str, str]]) -> Any:
        url = f"http://127.0.0.1:{port}/invocations"
        return post(url, {"dataframe_records": pairs}, timeout=60)["predictions"]

    def refusal(pairs: list[dict[str, str]]) -> str:
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(pairs)
        assert refused.value.code == 400
        return refused.value.read().decode()

    with serving(command, f"http://127.0.0.1:{port}/ping", tmp_path / "log", tmp_path, env):
        pairs = example_pairs(system)
        good, bad = ask(pairs)
        assert good["decision"] in ("accept", "review", "reject")
        assert (bad["decision"], bad["reason"]) == ("unusable", "questioned_unreadable")
        many = ask(pairs * 32)
        assert [one["decision"] for one in many] == [good["decision"], "unusable"] * 32
        named = {
            "reference": "file:C-0001_reference_1.png",
            "questioned": "file:C-0001_questioned.png",
        }
        assert ask([named])[0]["distance"] == pytest.approx(good["distance"], abs=1e-6)
        outside = {**named, "questioned": "file:../summary.md"}
        assert "questioned of pair 1 is no readable file below" in refusal([named, outside])
        neither = {**named, "reference": "not base64!"}
        assert "reference of pair 0 is neither base64 nor file:PATH" in refusal([neither])
        assert "questioned" in refusal([{"reference": named["reference"]}])
