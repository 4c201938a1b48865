"""The many-machine shape, as far as it runs here: Prefect and MLflow on Postgres, files on S3."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import mlflow
import pytest
from programs import SMALL, environment, free_port, prefect_serving, serving, siamese
from standby import standing_by

from siamese.config import SourceSettings
from siamese.sources import fetch_and_read


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Postgres with two empty databases, ``prefect`` and ``mlflow``."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs a program beyond Python: Postgres (apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("postgres")
    port = free_port()
    # Postgres does not run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        for above in (folder, *folder.parents[:3]):
            above.chmod(above.stat().st_mode | 0o055)
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs[-1] / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    run("initdb", "-D", data, "-A", "trust", "-U", "siamese")
    options = f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"
    # No pipe that the server would hold open.
    run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        for name in ("prefect", "mlflow"):
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "siamese", name)
        yield f"siamese@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")


def claims(folder: Path) -> Path:
    """Six claims of drawn signatures."""
    made = fetch_and_read(SourceSettings(writers=6, images=3), folder / "drawn", seed=8)
    rows = ["claim_id,questioned,reference"]
    for writer in sorted({image.writer for image in made.images}):
        first, second, *_ = (i.path for i in made.images if i.writer == writer)
        rows.append(f"{writer},{second},{first}")
    path = made.root / "claims.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_train_and_score_on_postgres_and_s3_with_no_disk_in_common(
    postgres: str, tmp_path: Path
) -> None:
    s3, tracking, prefect = free_port(), free_port(), free_port()
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    store = f"http://127.0.0.1:{s3}"
    url = f"http://127.0.0.1:{tracking}"
    api = f"http://127.0.0.1:{prefect}/api"
    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)]
    mlflow_server = [
        str(standing_by() / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(tracking),
        "--workers", "1", "--backend-store-uri", f"postgresql://{postgres}/mlflow",
        "--artifacts-destination", "s3://mlflow",
    ]  # fmt: skip
    prefect_server = [str(standing_by() / "prefect"), "server", "start", "--port", str(prefect)]
    env = environment(
        tmp_path / "server",
        MLFLOW_S3_ENDPOINT_URL=store, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **keys,
    )  # fmt: skip
    database = {"PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{postgres}/prefect"}
    with serving(moto, f"{store}/moto-api/", tmp_path / "moto.log", tmp_path, env):
        bucket = boto3.client(
            "s3", endpoint_url=store, region_name="us-east-1",
            aws_access_key_id="x", aws_secret_access_key="y",
        )  # fmt: skip
        bucket.create_bucket(Bucket="mlflow")
        with (
            serving(mlflow_server, f"{url}/health", tmp_path / "mlflow.log", tmp_path, env),
            serving(
                prefect_server, f"{api}/health", tmp_path / "prefect.log", tmp_path, env | database
            ),
        ):
            servers = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": url}
            trainer, scorer = tmp_path / "trainer", tmp_path / "scorer"
            trainer.mkdir()
            scorer.mkdir()
            trained = siamese(
                "train", *SMALL, "--set", "training.steps=40", "--set", "policy.bootstrap=100",
                home=tmp_path / "trainer-home", cwd=trainer, **servers,
            )  # fmt: skip
            assert trained.returncode == 0, trained.stdout[-3000:]
            # Another machine: nothing of the first but the servers' addresses.
            scored = siamese(
                "score", claims(tmp_path), home=tmp_path / "scorer-home", cwd=scorer, **servers
            )
            assert scored.returncode == 0, scored.stdout[-3000:]
            assert re.search(r"^6 claims: .* 0 unusable\.$", scored.stdout, re.MULTILINE)
            version = mlflow.MlflowClient(tracking_uri=url).get_model_version_by_alias(
                "signature-verifier", "champion"
            )
            assert str(version.version) == "1"
            kept = bucket.list_objects_v2(Bucket="mlflow")["Contents"]
            assert any(one["Key"].endswith("weights.safetensors") for one in kept)
    assert not (trainer / "data" / "mlflow").exists()


def test_a_password_is_written_nowhere(postgres: str, tmp_path: Path) -> None:
    address = f"postgresql://siamese:hunter2@{postgres.rpartition('@')[2]}/mlflow"
    home, told = tmp_path / "home", ""
    with prefect_serving(home, tmp_path) as api:
        servers = {"MLFLOW_TRACKING_URI": address, "PREFECT_API_URL": api}
        for command in (
            ("train", *SMALL, "--set", "training.steps=10", "--set", "policy.bootstrap=100"),
            ("doctor",),
            ("prune", "--set", "retention.challengers=0"),
            ("score", claims(tmp_path), "--set", "tracking.model=unheard-of"),
        ):
            told += siamese(*command, home=home, cwd=tmp_path, **servers).stdout
        refused = siamese(
            "train", "--set", f"tracking.uri={address}",
            home=home, cwd=tmp_path, PREFECT_API_URL=api,
        )  # fmt: skip
    assert "postgresql://***@127.0.0.1" in told
    assert refused.returncode == 2
    assert "tracking.uri: settings are written down with every run" in refused.stdout
    assert "hunter2" not in told + refused.stdout
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) > 50
    assert not [path for path in found if b"hunter2" in path.read_bytes()]
