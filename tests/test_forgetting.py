"""A writer who is forgotten is in no store any more; all others are, as before."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from example_verifier import small_verifier

from siamese import forgetting
from siamese.claims import hash_claims
from siamese.config import ScoringSettings, Settings, SourceSettings
from siamese.enrolment import enrol, enrolment_folder, read_enrolment, read_references
from siamese.errors import InputError
from siamese.feedback import Verdict, keep
from siamese.forgetting import forget
from siamese.intake import read_claims
from siamese.preparing import prepare_files
from siamese.scoring import Batch, Stores, files_of, score_claims, with_vectors
from siamese.sources import synthetic
from siamese.tables import CLAIM_DECISIONS, FILES
from tasks.ingest import _sources_fingerprint, ingest
from tasks.stage import Work

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
    return [p.read_bytes() for p in data.rglob("*") if p.is_file() and p.suffix != ".lock"]


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


def test_pictures_that_no_row_names_go_too(data: Path) -> None:
    """What a killed process left, another name of a picture, and a verdict that was replaced."""
    pictures = enrolment_folder(data) / "pictures"
    one = next(pictures.iterdir())
    (pictures / f".{one.name}.1a2b.tmp").write_bytes(one.read_bytes())
    (pictures / f"{one.stem}.jpeg").write_bytes(one.read_bytes())
    (data / "feedback" / "pictures" / "0.png").write_bytes(one.read_bytes())
    forget(data, "ann")
    forget(data, "bob")
    assert not any(pictures.iterdir())
    assert not any((data / "feedback" / "pictures").iterdir())


def test_a_name_from_a_spreadsheet_is_the_name(data: Path) -> None:
    path = data / "stages/score/abc/decisions.parquet"
    table = CLAIM_DECISIONS.read(path)
    table["writer_id"] = table["writer_id"].replace("ann", "'@ann")
    CLAIM_DECISIONS.write(table, path, {})
    assert any("1 batch(es)" in line for line in forget(data, "@ann"))


def test_decisions_that_cannot_be_read_are_named(data: Path) -> None:
    path = data / "stages/score/abc/decisions.parquet"
    path.write_bytes(b"PAR1")
    assert any(str(path) in line and "delete it" in line for line in forget(data, "ann"))


@pytest.fixture
def trained_on(tmp_path: Path) -> Settings:
    """A data folder with a generated set, one of whose pictures lies there twice."""
    settings = Settings(
        data_dir=tmp_path / "data", sources=(SourceSettings(kind="synthetic", writers=6, images=3),)
    )
    listed = _ingested(settings)
    again = Path(listed["path"].iloc[0]).with_name("again.png")
    again.write_bytes(Path(listed["path"].iloc[0]).read_bytes())
    manifest = again.parents[1] / "manifest.csv"
    name = again.relative_to(manifest.parent)
    manifest.write_text(f"{manifest.read_text()}{name},001,genuine\n")
    shutil.rmtree(settings.data_dir / "raw" / "listed")
    return settings


def _ingested(settings: Settings) -> pd.DataFrame:
    into = settings.data_dir / "stages" / "ingest" / "abc"
    shutil.rmtree(into, ignore_errors=True)
    ingest_task = inspect.getclosurevars(ingest.fn).nonlocals["function"]
    ingest_task(Work(into, {"fingerprint": "abc"}, "", print), settings)
    return FILES.read(into / "files.parquet")


@pytest.mark.parametrize("pruned", [False, True])
def test_training_pictures_go_though_the_stages_are_pruned(
    trained_on: Settings, pruned: bool
) -> None:
    listed = _ingested(trained_on)
    theirs = [Path(path) for path in listed.loc[listed["writer"] == "synthetic:001", "path"]]
    others = [Path(path) for path in listed.loc[listed["writer"] != "synthetic:001", "path"]]
    assert len(theirs) == 7  # one of them twice
    before = _sources_fingerprint({"settings": trained_on})
    data = trained_on.data_dir.resolve()
    if pruned:
        shutil.rmtree(data / "stages")
    assert "7 picture(s) of training sets removed." in forget(data, "synthetic:001")
    assert not any(path.exists() for path in theirs)
    assert all(path.exists() for path in others)
    # Nothing that was made of them is taken for made.
    assert _sources_fingerprint({"settings": trained_on}) != before
    assert "synthetic:001" not in set(_ingested(trained_on)["writer"])
    assert forget(data, "synthetic:001") == []
