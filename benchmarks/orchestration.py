"""What Prefect costs: scoring as a flow against the same library calls, in one run.

    python benchmarks/orchestration.py DATA [--claims 20000]

DATA is a data folder with a champion, whose registry is copied. The claims are those of growth.py,
a picture of its own each. Both ways start from an empty store, hash every picture, and write the
decisions as Parquet; the flow also writes its artifacts, its CSV and its cache. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import growth
from machine import machine

from siamese.claims import fingerprint_claims
from siamese.config import ScoringSettings, Settings
from siamese.enrolment import read_enrolment
from siamese.intake import read_claims
from siamese.scoring import Batch, score_shards
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier


def by_library(root: Path, model: Path, work: Path) -> None:
    claims = read_claims(root)
    fingerprint_claims(claims, root)
    none, when = read_enrolment(work / "none"), datetime.now(UTC)
    batch = Batch(root, none, work / "store", work / "ledger", "1", when)
    verifier, settings = Verifier.load(model), ScoringSettings()
    with score_shards(claims, batch, verifier, settings) as scored:
        CLAIM_DECISIONS.write_all(scored.tables, work / "decisions.parquet", {})


def by_flow(root: Path, work: Path) -> tuple[float, Path]:
    """Seconds that the flow took, its API being up, and the champion's files."""
    os.environ["PREFECT_HOME"] = str(work / "prefect")
    from flows.console import prepare_environment  # noqa: PLC0415 - Prefect reads its home now

    settings = Settings(data_dir=work / "data")
    prepare_environment(settings)
    from prefect import flow  # noqa: PLC0415

    from tasks.champion import fetch_model  # noqa: PLC0415
    from tasks.score import score  # noqa: PLC0415

    found: list[Path] = []

    @flow
    def fetch() -> None:
        found.append(fetch_model(settings).path)

    @flow
    def scoring() -> None:
        score(settings, fetch_model(settings), root)

    fetch()  # the API's first start makes its database
    began = time.perf_counter()
    scoring()
    return time.perf_counter() - began, found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--claims", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        growth.build(work / "claims", arguments.claims)
        shutil.copytree(arguments.data / "mlflow", work / "data" / "mlflow")
        flow, model = by_flow(work / "claims", work)
        began = time.perf_counter()
        by_library(work / "claims", model, work / "plain")
        library = time.perf_counter() - began
    print(
        f"{machine()}: {arguments.claims:,} claims as a flow "
        f"{flow:.1f} s, by library calls {library:.1f} s; the flow takes {flow / library - 1:+.1%}."
    )


if __name__ == "__main__":
    main()
