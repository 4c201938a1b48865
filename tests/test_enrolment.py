"""References that are enrolled once, and claims that need no picture of them."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_verifier import small_verifier

from siamese.config import ImagingSettings, ScoringSettings
from siamese.enrolment import enrol, read_enrolment, read_references
from siamese.errors import RunError
from siamese.intake import read_claims
from siamese.manifests import ManifestError
from siamese.scoring import Batch, score_claims
from siamese.sources import synthetic

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    synthetic.write_claims(tmp_path, seed=1, claims=4)
    return tmp_path / "claims"


@pytest.fixture
def references(example: Path, tmp_path: Path) -> Path:
    """A folder a writer, with the references of two claims, and a picture that is none."""
    root = tmp_path / "references"
    for name in ("C-0001", "C-0002"):
        (root / name).mkdir(parents=True)
        for path in example.glob(f"{name}_reference_*"):
            shutil.copy(path, root / name / path.name)
    (root / "C-0002" / "broken.png").write_bytes(b"no picture")
    return root


def enrolled(references: Path, store: Path) -> pd.DataFrame:
    found = read_references(references)
    folder = store.parent / "enrolled"
    return enrol(found, ImagingSettings(), store, folder, NOW, workers=1).set_index("name")


def scored(root: Path, store: Path) -> pd.DataFrame:
    verifier = small_verifier()
    enrolment = read_enrolment(store.parent / "enrolled")
    claims = read_claims(root, enrolment.writers)
    ledger = Path(tempfile.mkdtemp(dir=store.parent))
    batch = Batch(root, enrolment, store, ledger, "test 1", NOW)
    return score_claims(claims, batch, verifier, ScoringSettings(workers=1)).set_index("claim_id")


def test_each_reference_has_an_outcome_and_is_kept_once(references: Path, tmp_path: Path) -> None:
    outcomes = enrolled(references, tmp_path / "store")
    assert outcomes["outcome"].value_counts().to_dict() == {"enrolled": 6, "unreadable": 1}
    assert outcomes.loc["C-0002/broken.png", "detail"]
    again = enrolled(references, tmp_path / "store")
    assert again["outcome"].value_counts().to_dict() == {"known": 6, "unreadable": 1}
    writers = read_enrolment(tmp_path / "enrolled").writers
    assert {name: len(ids) for name, ids in writers.items()} == {"C-0001": 3, "C-0002": 3}


def test_enrolled_references_decide_as_their_pictures_do(
    example: Path, references: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    by_picture = scored(example, store)
    enrolled(references, store)
    shutil.rmtree(references)
    later = tmp_path / "later"
    later.mkdir()
    for name in ("C-0001", "C-0002"):
        shutil.copy(example / f"{name}_questioned.png", later / f"{name}.png")
    (later / "claims.csv").write_text(
        "claim_id,questioned,writer_id\n"
        "C-0001,C-0001.png,C-0001\nC-0002,C-0002.png,C-0002\nC-0009,C-0002.png,C-0009\n"
    )
    shutil.rmtree(store)  # what was made of the pictures can be thrown away
    found = scored(later, store)
    for name in ("C-0001", "C-0002"):
        for column in ("distance", "decision", "n_references"):
            assert found.loc[name, column] == by_picture.loc[name, column]
        assert found.loc[name, "closest_reference"].startswith(f"enrolled:{name}/")
    assert found.loc["C-0009", "reason"] == "writer_not_enrolled"
    assert found.loc["C-0009", "reason_detail"] == "No references of writer 'C-0009' are enrolled."


def test_references_by_manifest(references: Path, tmp_path: Path) -> None:
    (references / "references.csv").write_text(
        "writer_id,reference\nanna,C-0001\nbert,C-0002/C-0002_reference_1.png\n"
        ",C-0001\nbert,../secret.png\nbert,gone.png\nmax,\nzoe,empty\n"
    )
    (references / "empty").mkdir()
    outcomes = enrolled(references, tmp_path / "store").reset_index()
    counts = outcomes.groupby("writer_id")["outcome"].value_counts()
    assert counts["anna"].to_dict() == {"enrolled": 3}
    assert counts["bert"].to_dict() == {"enrolled": 1, "reference_missing": 2}
    assert counts[""].to_dict() == {"no_writer": 3}
    for nobody in ("max", "zoe"):
        assert counts[nobody].to_dict() == {"reference_missing": 1}


def test_folders_with_nothing_to_enrol(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist"):
        read_references(tmp_path / "gone")
    with pytest.raises(ManifestError, match="no references in"):
        read_references(tmp_path)
    (tmp_path / "references.csv").write_text("writer,reference\na,b\n")
    with pytest.raises(ManifestError, match=r"lacks the column\(s\) writer_id"):
        read_references(tmp_path)


def test_a_manifest_beside_folders_takes_the_pictures_from_them(
    example: Path, tmp_path: Path
) -> None:
    root = tmp_path / "both"
    for name in ("C-0001", "C-0002", "C-0003"):
        (root / name).mkdir(parents=True)
        for path in example.glob(f"{name}_*"):
            shutil.copy(path, root / name / path.name.removeprefix(f"{name}_"))
    (root / "claims.csv").write_text("claim_id,amount\nC-0001,10\nC-0002,20\nC-0007,30\n")
    found = {claim.claim_id: claim for claim in read_claims(root)}
    assert sorted(found) == ["C-0001", "C-0002", "C-0003", "C-0007"]
    assert [found[name].further["amount"] for name in sorted(found)] == ["10", "20", "", "30"]
    assert len(found["C-0001"].references) == 3
    assert found["C-0003"].detail == "The manifest does not name this claim; its folder was read."
    assert found["C-0007"].problem == "no_questioned"
    distances = scored(root, tmp_path / "store")["distance"]
    by_picture = scored(example, tmp_path / "store")["distance"]
    assert np.array_equal(distances[:3], by_picture[:3])
    (root / "claims.csv").write_text("claim_id,amount\nX,10\n")
    with pytest.raises(ManifestError, match="there is none"):
        read_claims(root)


def test_one_picture_enrolled_and_given_keeps_both_names(
    example: Path, references: Path, tmp_path: Path
) -> None:
    shutil.copytree(references / "C-0001", references / "anna")
    enrolled(references, tmp_path / "store")
    root = tmp_path / "later"
    root.mkdir()
    shutil.copy(example / "C-0001_reference_1.png", root / "r.png")
    shutil.copy(example / "C-0002_questioned.png", root / "q.png")
    (root / "claims.csv").write_text(
        "claim_id,questioned,reference,writer_id\na,r.png,,anna\nb,q.png,r.png,\nc,r.png,,C-0001\n"
    )
    found = scored(root, tmp_path / "store")
    assert found["closest_reference"].tolist() == [
        "enrolled:anna/C-0001_reference_1.png",
        "r.png",
        "enrolled:C-0001/C-0001_reference_1.png",
    ]
    assert found["reason"].tolist()[::2] == ["pasted", "pasted"]


def test_a_damaged_enrolment_is_said_and_left_where_it_is(references: Path, tmp_path: Path) -> None:
    enrolled(references, tmp_path / "store")
    (part,) = (tmp_path / "enrolled").glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        read_enrolment(tmp_path / "enrolled")
    assert part.is_file()
