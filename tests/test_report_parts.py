"""A large report is in parts: every claim in one of them, those for review first."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_verifier import small_verifier, trials

from siamese import report
from siamese.config import ScoringSettings
from siamese.enrolment import read_enrolment
from siamese.explaining import EXPLANATIONS, explain
from siamese.intake import read_claims
from siamese.record import Record
from siamese.scoring import Batch, score_claims
from siamese.sources import synthetic
from siamese.tables import CLAIM_DECISIONS


def rows_of(page: Path) -> list[dict[str, object]]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)
    assert found
    rows: list[dict[str, object]] = json.loads(found.group(1))["rows"]
    return rows


@pytest.mark.slow
def test_every_claim_is_in_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.write_claims(tmp_path, seed=1, claims=12)
    root = tmp_path / "claims"
    verifier = dataclasses.replace(small_verifier(), record=Record((trials(1),), (trials(2),)))
    when = datetime(2026, 1, 2, tzinfo=UTC)
    enrolment, store = read_enrolment(tmp_path / "none"), tmp_path / "store"
    batch = Batch(root, enrolment, store, tmp_path / "ledger", "1", when)
    decisions = score_claims(read_claims(root), batch, verifier, ScoringSettings(workers=1))
    # An untrained network knows nothing; half of the claims are sent to review.
    scored = decisions["distance"].notna()
    decisions.loc[scored & (decisions.index % 2 == 0), "decision"] = "review"
    reviewed = decisions[decisions["decision"] == "review"]
    drawn = pd.concat(explain([reviewed], verifier, store), ignore_index=True)
    table = tmp_path / "decisions.parquet"
    CLAIM_DECISIONS.write(decisions, table, {})
    path = tmp_path / "explanations.parquet"
    pq.write_table(pa.Table.from_pandas(drawn, schema=EXPLANATIONS, preserve_index=False), path)

    def written(part: int) -> list[list[dict[str, object]]]:
        monkeypatch.setattr(report, "_PART", part)
        folder = tmp_path / str(part)
        folder.mkdir()
        findings = report.Findings(path, (), {"Model": "1", "Claims fingerprint": "abc"})
        first = report.write_report(table, root, verifier, findings, folder, workers=1)
        assert first == folder / "report.html"
        pages = sorted(folder.glob("report*.html"), key=lambda p: (len(p.name), p.name))
        for page in pages:
            links = re.findall(r'href="(report[-\d]*\.html)"', page.read_text())
            assert sorted([*links, page.name]) == sorted(p.name for p in pages) or len(pages) == 1
        return [rows_of(page) for page in pages]

    (whole,) = written(5000)
    parts = written(5)
    assert [len(part) for part in parts] == [5] * (len(decisions) // 5) + (
        [len(decisions) % 5] if len(decisions) % 5 else []
    )
    flat = [row for part in parts for row in part]
    by_id = {row["claim_id"]: row for row in whole}
    assert {row["claim_id"]: row for row in flat} == by_id
    kinds = [row["decision"] for row in flat]
    assert kinds[: len(reviewed)] == ["review"] * len(reviewed)
    assert all(row["overlay"] for row in flat if row["decision"] == "review")
