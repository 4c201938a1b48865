"""The whole program, installed, from the command line: what a new user does, in that order."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from programs import SIAMESE, environment, free_port, serving, siamese

from siamese.config import SourceSettings, load_settings
from siamese.files import read_json
from siamese.model import build_network
from siamese.preparing import canvas_store, canvases_of
from siamese.sources import fetch_and_read
from siamese.tables import CLAIM_DECISIONS, IMAGES, PAIRS, provenance_of
from siamese.training import SignatureSet, held_out_errors

STAGES = (
    "ingest", "audit", "prepare", "split", "pairs", "train", "calibrate", "evaluate",
    "register", "example_claims", "score", "report",
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """A working folder where the demo was run, with no server of any kind."""

    cwd: Path
    home: Path
    output: str
    code: int

    @property
    def data(self) -> Path:
        return self.cwd / "data"

    def output_of(self, stage: str) -> Path:
        (found,) = [p for p in (self.data / "stages" / stage).iterdir() if p.name[0] != "."]
        return found

    def shown(self, label: str) -> Path:
        """A path that the demo printed at its end."""
        return Path(re.findall(rf"{label}: +(\S+)", self.output)[-1])

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.data}/mlflow/mlflow.db")

    def run(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return siamese(*arguments, home=self.home, cwd=self.cwd, **more)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    folder = tmp_path_factory.mktemp("system")
    done = siamese("demo", home=folder / "prefect", cwd=folder, timeout=1500)
    return System(folder, folder / "prefect", done.stdout, done.returncode)


@pytest.fixture(scope="session")
def prefect_server(system: System) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    env = environment(system.home)
    with serving(command, f"{url}/health", system.cwd / "prefect.log", system.cwd, env):
        yield url


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield made
        made.close()


# --- the demo --------------------------------------------------------------------------------


def test_demo_runs_every_stage_and_says_where_things_are(system: System) -> None:
    assert system.code == 0, system.output[-4000:]
    for stage in STAGES:
        assert re.search(rf"Task run '{stage}-\w+' - Finished in state Completed", system.output)
    assert re.search(r"Training: step 100 of 500, .* about .* left", system.output)
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
    untrained = held_out_errors(build_network(settings.network, 1).eval(), signatures)
    figures = read_json(system.output_of("evaluate") / "evaluation.json")[0]["figures"]
    assert untrained[0] > 0.30
    assert figures["eer_skilled"]["value"] < untrained[0] - 0.10
    assert figures["eer_random"]["value"] < 0.20


def test_demo_registers_a_champion_with_everything_in_its_run(system: System) -> None:
    client = system.client()
    version = client.get_model_version_by_alias("signature-verifier", "champion")
    assert "EER, skilled forgeries" in version.description
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.steps"] == "500"
    assert run.inputs.dataset_inputs[0].dataset.digest == system.output_of("split").name
    assert [m.step for m in client.get_metric_history(run.info.run_id, "eer_skilled")] == list(
        range(50, 501, 50)
    )
    for name in ("eer_skilled", "eer_random", "frr", "far_skilled", "auc_mixed", "cllr"):
        for suffix in ("", "_low", "_high"):
            assert f"test_1ref_{name}{suffix}" in run.data.metrics
    assert "test_5ref_eer_skilled" in run.data.metrics
    names = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"figures", "model_card.md", "evaluation.json", "probes.json"} <= names
    pictures = {Path(a.path).name for a in client.list_artifacts(run.info.run_id, "figures")}
    assert pictures == {
        "det.png", "distances.png", "hardest_pairs.png", "roc.png", "training.png",
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


# --- scoring ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def claims(system: System) -> Path:
    folder = system.cwd / "claims"
    shutil.copytree(system.output_of("example_claims") / "claims", folder)
    return folder


def test_score_with_a_server_and_again_from_the_cache(
    system: System, claims: Path, prefect_server: str
) -> None:
    shutil.copy(claims / "C-0001_questioned.png", claims / "new.png")
    with (claims / "claims.csv").open("a") as table:
        table.write("N-0001,new.png,C-0002_reference_1.png,10.00\n")
    first = system.run("score", claims, PREFECT_API_URL=prefect_server)
    assert first.returncode == 3, first.stdout[-3000:]  # some are unusable on purpose
    assert "67 claims in" in first.stdout
    assert "Starting Prefect's temporary API" not in first.stdout
    assert re.search(r"'score-\w+' - Finished in state Completed", first.stdout)
    second = system.run("score", claims, PREFECT_API_URL=prefect_server)
    assert re.search(r"'score-\w+' - Finished in state Cached", second.stdout)
    assert re.search(r"'report-\w+' - Finished in state Cached", second.stdout)
    assert first.stdout.split("Decisions:")[1] == second.stdout.split("Decisions:")[1]
    request = urllib.request.Request(
        f"{prefect_server}/artifacts/latest/filter",
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        keys = {artifact["key"] for artifact in json.load(answer)}
    assert {"score", "report"} <= keys


def test_removed_outputs_are_made_again(system: System, claims: Path, prefect_server: str) -> None:
    page = system.run("report", claims, PREFECT_API_URL=prefect_server)
    path = Path(re.findall(r"Report: (\S+)", page.stdout)[0])
    before = path.read_text()
    shutil.rmtree(path.parent)
    again = system.run("report", claims, PREFECT_API_URL=prefect_server)
    assert re.search(r"'report-\w+' - Finished in state Completed", again.stdout)
    assert re.search(r"'score-\w+' - Finished in state Cached", again.stdout)
    assert path.read_text().count("C-0001") == before.count("C-0001")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["score", "nowhere"], "The claims folder nowhere does not exist."),
        (["score", "."], "There are no claims in ."),
        (["train", "--set", "training.steps=none"], "training.steps: "),
        (["train", "--set", "training.stepz=1"], "training.stepz: there is no such setting."),
        (["train", "--source", "oracle"], "sources.0.kind: "),
        (["train", "--source", "cedar"], "sources.0: a cedar source needs a path"),
        (["train", "--path", "."], "--path goes with --source"),
        (["train", "--config", "gone.toml"], "The config file gone.toml does not exist."),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = siamese(*arguments, home=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stdout
    assert "Traceback" not in done.stdout


def test_faults_inside_a_flow_are_one_sentence_too(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    server = {"PREFECT_API_URL": prefect_server}
    missing = system.run("prepare", "--source", "kaggle", "--path", "gone", **server)
    assert missing.returncode == 2
    assert missing.stdout.rstrip().endswith("The kaggle source's folder gone does not exist.")
    none = siamese("score", system.cwd / "claims", home=system.home, cwd=tmp_path, **server)
    assert none.returncode == 1
    assert "has the alias champion" in none.stdout.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    ["", "demo", "prepare", "train", "retrain", "score", "report", "ui", "serve", "doctor"],
)
def test_help_of_every_command(command: str, tmp_path: Path) -> None:
    done = siamese(*command.split(), "--help", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: siamese" in done.stdout
    assert len(done.stdout.splitlines()) > 8


def test_doctor_sees_the_champion(system: System) -> None:
    done = system.run("doctor")
    assert done.returncode == 0, done.stdout
    for name in ("python", "torch", "device", "disk", "registry", "prefect api", "source"):
        assert name in done.stdout
    assert "champion is version 1" in done.stdout


# --- the report and the registry in a browser ------------------------------------------------


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, with every console error and every request that leaves the file."""
    page = browser.new_page()
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else seen.append(r.url),
    )
    yield page, seen
    page.close()


def test_markup_in_a_manifest_is_shown_not_run(
    system: System, watched: tuple[Page, list[str]], prefect_server: str, tmp_path: Path
) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    root = system.output_of("example_claims") / "claims"
    for name in ("C-0001_questioned.png", "C-0001_reference_1.png"):
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / "claims.csv").write_text(
        f"claim_id,questioned,reference,{hostile}\n"
        f"{hostile},C-0001_questioned.png,C-0001_reference_1.png,{hostile}</script>\n"
    )
    done = system.run("score", tmp_path, PREFECT_API_URL=prefect_server)
    page, seen = watched
    page.on("dialog", lambda dialog: seen.append(dialog.message))
    page.goto(Path(re.findall(r"Report: +(\S+)", done.stdout)[0]).as_uri())
    assert page.locator("#body td.id").inner_text() == hostile
    assert page.locator("#body img").count() == 2
    assert seen == []


def test_report_opens_offline_filters_and_sorts(
    system: System, watched: tuple[Page, list[str]]
) -> None:
    page, seen = watched
    path = system.shown("Report")
    decisions = CLAIM_DECISIONS.read(system.shown("Decisions").with_suffix(".parquet"))
    page.goto(path.as_uri())
    rows = page.locator("#body tr")
    assert rows.count() == 50
    assert (
        page.locator("#shown").inner_text()
        == f"{len(decisions)} of {len(decisions)} claims, page 1 of 2"
    )
    page.get_by_role("button", name="Next").click()
    assert rows.count() == len(decisions) - 50
    for decision in ("accept", "review", "reject", "unusable"):
        page.get_by_label("Decision").select_option(decision)
        assert rows.count() == (decisions["decision"] == decision).sum()
    page.get_by_label("Decision").select_option("")
    page.get_by_label("Reason").select_option("pasted")
    assert rows.count() == 1
    page.get_by_label("Reason").select_option("")
    page.get_by_role("button", name="Distance").click()
    page.get_by_role("button", name="Distance").click()
    first = float(rows.first.locator("td.number").nth(2).inner_text())
    assert first == pytest.approx(decisions["distance"].max(), abs=0.001)
    page.get_by_label("Search").fill("C-0007")
    assert rows.count() == 1
    widths = page.locator("#body img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert len(widths) == 2
    assert min(widths) > 20
    assert page.locator("figure svg").count() == 2
    assert seen == []


def test_registry_shows_in_the_mlflow_ui(system: System, browser: Browser) -> None:
    port = free_port()
    env = environment(system.home)
    with serving(
        [SIAMESE, "ui", "--port", str(port)],
        f"http://127.0.0.1:{port}/health",
        system.cwd / "ui.log",
        system.cwd,
        env,
    ):
        links = re.findall(r"http://127\.0\.0\.1:\S+", (system.cwd / "ui.log").read_text())
        page = browser.new_page()
        page.goto(next(link for link in links if "/models/" in link))
        page.get_by_text("champion").first.wait_for(timeout=60_000)
        page.goto(next(link for link in links if "/experiments/" in link))
        page.get_by_text(re.compile("train-[0-9a-f]{8}")).first.wait_for(timeout=60_000)
        page.close()


# --- the model, alone ------------------------------------------------------------------------

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
        {"reference": reference, "questioned": "not base64!"},
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
    with serving(command, f"http://127.0.0.1:{port}/ping", tmp_path / "log", tmp_path, env):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps({"dataframe_records": example_pairs(system)}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            good, bad = json.load(answer)["predictions"]
    assert good["decision"] in ("accept", "review", "reject")
    assert bad["decision"] == "unusable"


# --- training again --------------------------------------------------------------------------

SMALL = (
    "--set", 'sources=[{"kind": "synthetic", "writers": 30, "images": 4}]',
    "--set", "network.widths=[8, 12, 16]", "--set", "training.evaluate_every=5",
)  # fmt: skip


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


def test_nightly_flow_makes_a_champion_then_skips_then_judges(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    def retrain(*more: str) -> str:
        done = siamese(
            "retrain", *SMALL, *more, home=system.home, cwd=tmp_path, PREFECT_API_URL=prefect_server
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout.rstrip().splitlines()[-1]

    first = retrain("--set", "training.steps=100")
    assert first == "Version 1 is the champion; nothing new was trained."
    assert retrain("--set", "training.steps=100") == first
    judged = retrain("--set", "training.steps=110")
    assert re.match(r"(Not promoted|Promoted): EER_skilled differs by [+-]\d", judged), judged
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/data/mlflow/mlflow.db")
    aliases = client.get_registered_model("signature-verifier").aliases
    assert aliases["champion"] == ("2" if judged.startswith("Promoted") else "1")
    assert client.get_model_version("signature-verifier", "2").tags["verdict"] == judged


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


def test_with_an_mlflow_server_it_uses_that_one(
    system: System, prefect_server: str, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination", str(tmp_path / "kept"),
    ]  # fmt: skip
    with serving(command, f"{url}/health", tmp_path / "log", tmp_path, environment(tmp_path)):
        servers = {"PREFECT_API_URL": prefect_server, "MLFLOW_TRACKING_URI": url}
        done = siamese(
            "train",
            *SMALL,
            "--set",
            "training.steps=150",
            home=system.home,
            cwd=tmp_path,
            **servers,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        version = mlflow.MlflowClient(tracking_uri=url).get_model_version_by_alias(
            "signature-verifier", "champion"
        )
        assert version.version == "1"
        scored = siamese(
            "score", system.output_of("example_claims") / "claims",
            home=system.home, cwd=tmp_path, **servers,
        )  # fmt: skip
        assert scored.returncode == 3, scored.stdout[-3000:]
    assert not (tmp_path / "data" / "mlflow").exists()
    assert list((tmp_path / "kept").rglob("weights.safetensors"))


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


def test_deployments_are_accepted_by_a_real_server(system: System, prefect_server: str) -> None:
    root = Path(__file__).parents[1]
    env = environment(system.home, PREFECT_API_URL=prefect_server, PWD=str(root))

    def prefect(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            env=env,
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "signatures", "--type", "process")
    prefect("deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    listed = prefect("deployment", "ls")
    assert "nightly-retrain/nightly" in listed
    assert "score-claims/on-demand" in listed
