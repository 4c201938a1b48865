"""A writer who is forgotten is in no store any more; all others are, as before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from example_verifier import small_verifier

from siamese import forgetting
from siamese.claims import hash_claims
from siamese.config import ScoringSettings
from siamese.enrolment import enrol, enrolment_folder, read_enrolment, read_references
from siamese.errors import InputError
from siamese.feedback import Verdict, keep
from siamese.forgetting import forget
from siamese.intake import read_claims
from siamese.preparing import prepare_files
from siamese.scoring import Batch, Stores, files_of, score_claims, with_vectors
from siamese.sources import synthetic
from siamese.tables import CLAIM_DECISIONS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the references, claims and verdicts of two writers."""
    synthetic.write_claims(tmp_path, seed=1, claims=4)
    claims, data = tmp_path / "claims", tmp_path / "data"
    table = pd.read_csv(claims / "claims.csv")
    table = table[table["claim_id"].isin(["C-0001", "C-0002", "C-0003"])]
    table["writer_id"] = table["claim_id"].map({"C-0001": "ann", "C-0002": "bob", "C-0003": "bob"})
    table.to_csv(claims / "claims.csv", index=False)
    references = tmp_path / "references"
    for writer, claim in (("ann", "C-0001"), ("bob", "C-0002")):
        (references / writer).mkdir(parents=True)
        for path in claims.glob(f"{claim}_reference_*"):
            (references / writer / path.name).write_bytes(path.read_bytes())
    verifier = small_verifier()
    size = verifier.imaging_settings
    enrol(read_references(references), size, data / "store", enrolment_folder(data), NOW, workers=1)
    enrolment = read_enrolment(enrolment_folder(data))
    found = read_claims(claims, enrolment.writers)
    batch = Batch(claims, enrolment, data / "store", data / "ledger", "1", NOW)
    decisions = score_claims(found, batch, verifier, ScoringSettings(workers=1))
    CLAIM_DECISIONS.write(decisions, data / "stages/score/abc/decisions.parquet", {})
    (data / "stages/report/def").mkdir(parents=True)
    (data / "stages/report/def/report.html").write_text("Ann's claim")
    verdicts = {name: Verdict("genuine", "") for name in ("C-0001", "C-0002")}
    keep(found, hash_claims(found), verdicts, size, data / "feedback")
    stores = Stores.of(verifier, data / "store")
    facts = prepare_files(
        files_of(found, hash_claims(found), enrolment.files), size, stores.canvases, workers=1
    )
    with_vectors(facts, verifier, stores)
    return data


def everything(data: Path) -> list[bytes]:
    return [p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name[0] != "."]


def test_a_forgotten_writer_is_nowhere(data: Path) -> None:
    enrolment = read_enrolment(enrolment_folder(data))
    ids = enrolment.table.set_index("writer_id")["image_id"]
    pictures = [(enrolment.folder / f"{one}.png").read_bytes() for one in ids["ann"]]
    stores = Stores.of(small_verifier(), data / "store")
    assert len(stores.vectors.get(ids.tolist())) == len(ids)

    told = forget(data, "ann")
    assert any("enrolled reference(s) removed" in line for line in told)
    assert any("picture(s) of feedback removed" in line for line in told)
    assert any("canvas(es) and vector(s) removed" in line for line in told)
    assert any("1 batch(es) of claims" in line for line in told)
    left = everything(data)
    assert not any(picture in left for picture in pictures)
    assert b"ann" not in (data / "feedback" / "claims.csv").read_bytes()
    assert read_enrolment(enrolment_folder(data)).table["writer_id"].unique().tolist() == ["bob"]
    stores = Stores.of(small_verifier(), data / "store")
    for store in (stores.canvases, stores.vectors):
        assert store.get(ids["ann"].tolist()).empty
        assert len(store.get(ids["bob"].tolist())) == len(ids["bob"])
    feedback = pd.read_csv(data / "feedback" / "claims.csv")
    assert feedback["writer_id"].unique().tolist() == ["bob"]
    for name in (*feedback["questioned"], *feedback["reference"]):
        assert (data / "feedback" / name).is_file()
    assert not (data / "stages" / "report").exists()
    assert forget(data, "ann") == []


def test_a_run_that_was_killed_is_forgotten_too(data: Path) -> None:
    scored = data / "stages" / "score"
    shards = scored / ".abc.partial" / "shards"
    shards.mkdir(parents=True)
    (scored / "abc" / "decisions.parquet").rename(shards / "000000-abc.parquet")
    assert any("1 batch(es) of claims" in line for line in forget(data, "ann"))
    assert not scored.exists()


def test_nobody_is_not_everybody(data: Path) -> None:
    before = sorted(everything(data))
    with pytest.raises(InputError, match="Name the writer"):
        forget(data, " ")
    assert forget(data, "carol") == []
    assert sorted(everything(data)) == before


@pytest.mark.parametrize("cut", range(6))
def test_what_was_cut_off_goes_on(data: Path, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = read_enrolment(enrolment_folder(data)).table.set_index("writer_id")["image_id"]["ann"]
    before = {p.name for p in (data / "feedback" / "pictures").iterdir()}
    steps = ("_counted", "forget_enrolled", "forget_feedback", "_forget_datasets")
    calls = 0

    def or_end(what: Callable[..., object]) -> Callable[..., object]:
        def done(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls > cut:
                raise KeyboardInterrupt
            return what(*arguments)

        return done

    with monkeypatch.context() as patched:
        for name in steps:
            patched.setattr(forgetting, name, or_end(getattr(forgetting, name)))
        with pytest.raises(KeyboardInterrupt):
            forget(data, "ann")
    forget(data, "ann")
    stores = Stores.of(small_verifier(), data / "store")
    assert stores.canvases.get(ids.tolist()).empty
    assert stores.vectors.get(ids.tolist()).empty
    assert not (data / "stages" / "score").exists()
    assert read_enrolment(enrolment_folder(data)).table["writer_id"].unique().tolist() == ["bob"]
    listed = pd.read_csv(data / "feedback" / "signatures.csv")["path"]
    left = {p.name for p in (data / "feedback" / "pictures").iterdir()}
    assert left == {Path(name).name for name in listed}
    assert left < before
    assert forget(data, "ann") == []


def test_with_the_last_writer_feedback_trains_no_more(data: Path) -> None:
    for writer in ("ann", "bob"):
        forget(data, writer)
    assert not (data / "feedback" / "signatures.csv").exists()
    assert not any((data / "feedback" / "pictures").iterdir())
