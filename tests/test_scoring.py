"""Bulk scoring: one row a claim whatever happens, and nothing done twice."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from example_verifier import POLICY, small_verifier, trials
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from siamese import decision, packets, scoring
from siamese.calibration import calibrate
from siamese.claims import fingerprint_claims, hash_claims
from siamese.config import ScoringSettings
from siamese.decision import decide, standings
from siamese.enrolment import read_enrolment
from siamese.errors import InputError
from siamese.intake import read_claims
from siamese.manifests import ManifestError
from siamese.model import build_network
from siamese.pictures import Picture
from siamese.places import Place
from siamese.preparing import canvas_store, canvases_of, prepare_files
from siamese.scoring import Batch, Stores, score_claims
from siamese.sources import synthetic
from siamese.store import ContentStore, embedding_schema
from siamese.tables import CLAIM_DECISIONS, TableError, provenance_of
from siamese.verifier import Verifier

SETTINGS = ScoringSettings(shard=4, workers=1)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return small_verifier()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    synthetic.write_claims(folder, seed=1, claims=6)
    return folder


def scored(root: Path, verifier: Verifier, store: Path) -> pd.DataFrame:
    claims = read_claims(root)
    ledger = Path(tempfile.mkdtemp(dir=store.parent))
    enrolment = read_enrolment(store.parent / "enrolled")
    batch = Batch(root, enrolment, store, ledger, "test 1", datetime(2026, 1, 2, tzinfo=UTC))
    return score_claims(claims, batch, verifier, SETTINGS)


def test_a_reference_of_many_claims_travels_once(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    claim = next(claim for claim in read_claims(example / "claims") if not claim.problem)
    claims = [dataclasses.replace(claim, claim_id=str(number)) for number in range(3)]
    place, stores = Place.of(tmp_path / "exchange"), Stores.of(verifier, tmp_path / "store")
    nobody = read_enrolment(tmp_path / "enrolled")
    names = list(packets.pack(claims, nobody, verifier, stores, place, step=1))
    assert len(names) == 1  # the others ask for nothing that is not on its way
    packets.embed_packet(names[0], place, verifier, workers=1)
    assert packets.unpack(names[0], place, stores) == len(set(hash_claims(claims).values()))


def test_packets_are_of_one_model_and_no_larger_than_can_be_held(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    claims = [claim for claim in read_claims(example / "claims") if not claim.problem][:4]
    network = build_network(verifier.network_settings, seed=7)
    nobody, place = read_enrolment(tmp_path / "enrolled"), Place.of(tmp_path / "exchange")

    def packed(by: Verifier, sender: str = "") -> list[str]:
        stores = Stores.of(by, tmp_path / "store")
        return list(packets.pack(claims, nobody, by, stores, place, 4, sender))

    one = packed(verifier)
    others = [packed(dataclasses.replace(verifier, network=network)), packed(verifier, "elsewhere")]
    assert packed(verifier) == one
    assert len({name for names in (one, *others) for name in names}) == 3
    with mock.patch.object(packets, "_BYTES", 1):
        assert len(packed(verifier)) == len(set(hash_claims(claims).values()))


def test_every_claim_has_one_row_and_faults_their_reason(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    decisions = scored(example / "claims", verifier, tmp_path)
    truth = pd.read_csv(example / "truth.csv").set_index("claim_id")["kind"]
    found = decisions.set_index("claim_id")
    assert sorted(found.index) == sorted(truth.index)
    reason = found["reason"].groupby(truth).first()
    assert reason["blank"] == "questioned_blank"
    assert reason["damaged"] == "questioned_unreadable"
    assert reason["no_reference_file"] == "reference_missing"
    assert reason["no_questioned_file"] == "questioned_missing"
    assert reason["pasted"] == "pasted"
    assert reason["tiny"] in ("questioned_blank", "questioned_too_small")
    good = found[truth.isin(["genuine", "skilled_forgery", "random"])]
    assert (good["decision"] != "unusable").all()
    assert (good["n_references"] == 3).all()
    assert found["amount"].notna().all()
    unusable = found["decision"] == "unusable"
    assert found.loc[unusable, ["distance", "p_genuine", "log10_lr"]].isna().all(axis=None)
    assert found["reason_detail"].str.endswith(".").all()


def test_decisions_round_trip_with_provenance(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    decisions = scored(example / "claims", verifier, tmp_path)
    path = tmp_path / "decisions.parquet"
    CLAIM_DECISIONS.write(decisions, path, {"fingerprint": "abc"})
    assert provenance_of(path) == {"fingerprint": "abc"}
    again = CLAIM_DECISIONS.read(path)
    assert again["claim_id"].tolist() == decisions["claim_id"].tolist()
    assert "amount" in again.columns
    twice = pd.concat([decisions, decisions])
    with pytest.raises(TableError, match="claim_id"):
        CLAIM_DECISIONS.write(twice, path, {})


def test_each_picture_is_decoded_and_embedded_once_ever(
    example: Path, verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scored(example / "claims", verifier, tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done a second time")

    monkeypatch.setattr("siamese.verifier.embed", never)
    monkeypatch.setattr("siamese.imaging.prepare", never)
    pd.testing.assert_frame_equal(first, scored(example / "claims", verifier, tmp_path))


def test_a_damaged_store_is_made_again(example: Path, verifier: Verifier, tmp_path: Path) -> None:
    first = scored(example / "claims", verifier, tmp_path)
    for part in tmp_path.rglob("part-*.parquet"):
        part.write_bytes(part.read_bytes()[:100])
    pd.testing.assert_frame_equal(first, scored(example / "claims", verifier, tmp_path))


def test_folders_by_convention_agree_with_a_manifest(
    example: Path, verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("by-folder")
    for name in ("C-0001", "C-0002"):
        (root / name).mkdir(parents=True)
        for path in (example / "claims").glob(f"{name}_*"):
            shutil.copy(path, root / name / path.name.removeprefix(f"{name}_"))
    (root / "C-0003").mkdir()
    decisions = scored(root, verifier, tmp_path / "store").set_index("claim_id")
    by_manifest = scored(example / "claims", verifier, tmp_path / "store").set_index("claim_id")
    for name in ("C-0001", "C-0002"):
        assert decisions.loc[name, "distance"] == by_manifest.loc[name, "distance"]
        assert decisions.loc[name, "questioned"] == f"{name}/questioned.png"
    assert decisions.loc["C-0003", "reason"] == "no_questioned"


def write_manifest(root: Path, text: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "claims.csv").write_text(text)
    return root


def test_manifest_rows_that_cannot_be_scored_say_why(example: Path, tmp_path: Path) -> None:
    root = tmp_path / "claims"
    shutil.copytree(example / "claims", root)
    (root / "refs").mkdir()
    for number in (1, 2):
        shutil.copy(root / "C-0001_reference_1.png", root / "refs" / f"{number}.png")
    write_manifest(
        root,
        "claim_id,questioned,reference,branch\n"
        "a,C-0001_questioned.png,refs,north\n"
        "b,../secret.png,C-0001_reference_1.png,\n"
        "c,C-0001_questioned.png,,\n"
        "d,,C-0001_reference_1.png,\n"
        "e,C-0001_questioned.png,C-0001_reference_1.png,\n"
        "e,C-0002_questioned.png,C-0001_reference_1.png,\n"
        "f,C-0001_questioned.png,C-0001_reference_1.png,\n"
        "f,C-0001_questioned.png,gone.png,\n",
    )
    found = {claim.claim_id: claim for claim in read_claims(root)}
    assert [picture.path.name for picture in found["a"].references] == ["1.png", "2.png"]
    assert found["a"].further == {"branch": "north"}
    assert found["b"].problem == "path_outside"
    assert found["c"].problem == "reference_missing"
    assert found["d"].problem == "no_questioned"
    assert found["e"].problem == "several_questioned"
    assert (found["f"].problem, len(found["f"].references)) == ("", 1)
    assert found["f"].detail == "1 of 2 references are not there."


def test_a_column_named_like_a_verdict_cannot_be_one(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    root = tmp_path / "claims"
    shutil.copytree(example / "claims", root)
    write_manifest(
        root,
        "claim_id,questioned,reference,decision,distance\n"
        "a,C-0002_questioned.png,C-0001_reference_1.png,accept,cheap\n",
    )
    row = scored(root, verifier, tmp_path / "store").iloc[0]
    assert row["distance"] != "cheap"
    assert (row["manifest_decision"], row["manifest_distance"]) == ("accept", "cheap")
    assert row["reason"] in ("close", "between", "far")


def test_one_impossible_path_costs_only_its_claim(example: Path, tmp_path: Path) -> None:
    root = tmp_path / "claims"
    shutil.copytree(example / "claims", root)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "refs").mkdir()
    (root / "refs" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    rows = [
        ("long", "x" * 5000, "C-0001_reference_1.png"),
        ("loop", "loop.png", "C-0001_reference_1.png"),
        ("link", "C-0001_questioned.png", "refs"),
        ("good", "C-0001_questioned.png", "C-0001_reference_1.png"),
    ]
    text = "claim_id,questioned,reference\n" + "".join(",".join(row) + "\n" for row in rows)
    found = {claim.claim_id: claim for claim in read_claims(write_manifest(root, text))}
    assert found["good"].problem == ""
    assert found["link"].problem == "path_outside"
    assert found["long"].problem in ("path_outside", "questioned_missing")
    assert found["loop"].problem in ("path_outside", "questioned_missing")
    assert not found["link"].pictures


def test_a_read_that_failed_is_tried_again(
    example: Path, verifier: Verifier, tmp_path: Path
) -> None:
    root = tmp_path / "claims"
    shutil.copytree(example / "claims", root)
    claims = read_claims(root)
    hashes = hash_claims(claims)
    picture = root / "C-0001_questioned.png"
    data = picture.read_bytes()
    settings = verifier.imaging_settings
    store = canvas_store(tmp_path / "store", settings)
    picture.write_bytes(data + b"changed")
    first = prepare_files(
        [(hashes[Picture(picture.resolve())], picture)], settings, store, workers=1
    )
    assert first["quality"].tolist() == ["unreadable"]
    with pytest.raises(InputError, match="can no longer be used"):
        canvases_of([(hashes[Picture(picture.resolve())], picture)], settings, store, workers=1)
    picture.write_bytes(data)
    again = prepare_files(
        [(hashes[Picture(picture.resolve())], picture)], settings, store, workers=1
    )
    assert again["quality"].tolist() == ["ok"]


def test_references_that_disagree_and_faulty_ones_are_reviewed(verifier: Verifier) -> None:
    calm = trials(1).of("genuine", "skilled_forgery")
    three = dataclasses.replace(
        calibrate(calm, POLICY), n_references=3, accept_at=1.9, reject_at=1.95, widest_spread=0.5
    )
    both = dataclasses.replace(verifier, calibrations=(verifier.calibrations[0], three))
    one, other = np.eye(8, dtype=np.float32)[:2]

    def decided(*references: np.ndarray, quality: str = "ok") -> str:
        vectors = np.stack([one, *references])
        (standing,) = standings(vectors, [(0, range(1, len(vectors)))], [both])
        return decide(
            both.policy,
            standing,
            qualities=("ok", *([quality] * len(references))),
            details=("", *(["Cut off."] * len(references))),
            copies=[False] * len(references),
            usable=list(range(len(references))),
        ).reason

    assert decided(one, one, one) == "close"
    assert decided(one, other, other) == "references_disagree"
    assert decided(one, one, one, quality="clipped") == "reference_clipped"


@pytest.mark.parametrize("form", ["csv", "parquet", "xlsx"])
def test_pages_and_every_kind_of_manifest(
    example: Path, verifier: Verifier, tmp_path: Path, form: str
) -> None:
    root = tmp_path / "claims"
    root.mkdir()
    pages = [
        Image.open(example / "claims" / name).convert("L")
        for name in ("C-0001_reference_1.png", "C-0001_questioned.png")
    ]
    for name in ("scan.tif", "scan.pdf"):
        pages[0].save(root / name, save_all=True, append_images=pages[1:], resolution=200)
    for number, page in enumerate(pages, start=1):
        page.save(root / f"{number}.png")
    table = pd.DataFrame(
        [
            ("pictures", "2.png", "1.png", 7),
            ("tiff", "scan.tif#page=2", "scan.tif", 7),
            ("pdf", "scan.pdf#page=2", "scan.pdf#page=1", 7),
            ("beyond ", "scan.tif#page=3", "scan.tif", None),
            ("huge", "scan.tif#page=" + "1" * 5000, "scan.tif", 7),
        ],
        columns=["claim_id", "questioned", "reference", "branch"],
    ).astype({"branch": "Int64"})
    table[2024] = "x"
    table.columns = table.columns.map(str if form == "parquet" else lambda name: name)
    path = root / f"claims.{form}"
    {"csv": table.to_csv, "parquet": table.to_parquet, "xlsx": table.to_excel}[form](
        path, index=False
    )
    found = scored(root, verifier, tmp_path / "store").set_index("claim_id")
    near = pytest.approx(found.loc["pictures", "distance"], abs=1e-6)
    assert found.loc["tiff", "distance"] == near
    assert found.loc["pdf", "distance"] == pytest.approx(found.loc["pictures", "distance"], abs=0.2)
    assert found.loc["pdf", "questioned"] == "scan.pdf#page=2"
    assert found.loc["tiff", "branch"] in ("7", "7.0")
    assert found.loc["beyond", "branch"] == ""
    assert found.loc["beyond", "reason"] == "questioned_unreadable"
    assert found.loc["huge", "decision"] == "unusable"
    assert found.loc["pdf", "2024"] == "x"
    assert "There is no page 3: the file has 2." in found.loc["beyond", "reason_detail"]


def test_folders_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist"):
        read_claims(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="no claims in"):
        read_claims(tmp_path)
    with pytest.raises(ManifestError, match=r"lacks the column.*reference"):
        read_claims(write_manifest(tmp_path, "claim_id,questioned\na,b\n"))
    with pytest.raises(ManifestError, match="no claims in"):
        read_claims(write_manifest(tmp_path, "claim_id,questioned,reference\n"))
    (tmp_path / "claims.xlsx").write_bytes(b"no workbook")
    with pytest.raises(ManifestError, match=r"claims\.csv and claims\.xlsx"):
        read_claims(tmp_path)
    with pytest.raises(ManifestError, match=r"claims\.xlsx could not be read"):
        read_claims(tmp_path / "claims.xlsx")


def test_fingerprint_follows_content_not_place(example: Path, tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str:
        return fingerprint_claims(read_claims(root), root)

    here = example / "claims"
    there = tmp_path / "moved"
    shutil.copytree(here, there)
    assert fingerprint(there) == fingerprint(here)
    picture = there / "C-0001_questioned.png"
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert fingerprint(there) != fingerprint(here)


def test_store_keeps_the_first_and_survives_concurrent_writers(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, embedding_schema(2))
    rows = pd.DataFrame({"image_id": ["a", "b"], "embedding": [np.ones(2, np.float32)] * 2})
    store.put(rows)
    ContentStore(tmp_path, embedding_schema(2)).put(rows)
    (tmp_path / ".part-x.parquet.tmp").write_bytes(b"half")
    assert set(store.get(["a", "b", "c"]).index) == {"a", "b"}
    assert list(store.get(["b", "zz", "b"]).index) == ["b"]


def test_shards_do_not_change_decisions(
    example: Path, verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = scored(example / "claims", verifier, tmp_path / "a")
    monkeypatch.setattr("test_scoring.SETTINGS", ScoringSettings(shard=100, workers=2))
    large = scored(example / "claims", verifier, tmp_path / "b")
    pd.testing.assert_frame_equal(small, large, check_exact=True)  # to the last bit
    kept = [scoring.Stores.of(verifier, tmp_path / name).vectors for name in "ab"]
    ids = [hash_claims(read_claims(example / "claims")).values()] * 2
    sizes = [len(store.get(list(wanted))) for store, wanted in zip(kept, ids, strict=True)]
    assert sizes[0] == sizes[1] > 20


@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=20),
    at_once=st.sampled_from([1, 200, 2**22]),
    by=st.sampled_from([1.0, 1.25]),
    seed=st.integers(0, 99),
)
def test_many_claims_stand_as_each_alone_to_the_last_bit(
    verifier: Verifier, counts: list[int], at_once: int, by: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, 193)).astype(np.float32)
    vectors /= 20  # distances of about 1
    three = dataclasses.replace(verifier.calibrations[0], n_references=3, widest_spread=0.9)
    verifier = dataclasses.replace(verifier, calibrations=(*verifier.calibrations, three))
    policy = verifier.policy.model_copy(update={"prior": 0.9})
    other = dataclasses.replace(verifier, policy=policy)
    claims = [(int(rng.integers(40)), rng.permutation(40)[:n].tolist()) for n in counts]
    verifiers = [(verifier, other)[int(rng.integers(2))] for _ in counts]
    with mock.patch.object(decision, "_NUMBERS", at_once):
        found = standings(vectors, claims, verifiers, by)
    for claim, mine, standing in zip(claims, verifiers, found, strict=True):
        assert [standing] == standings(vectors, [claim], [mine], by)
        asked, references = claim
        if standing is None:
            assert not references
            continue
        apart = np.linalg.norm(vectors[references] - vectors[asked], axis=1)
        pairs = itertools.combinations(vectors[references], 2)
        between = [float(np.linalg.norm(one - other)) for one, other in pairs]
        calibration = mine.calibration(len(references))
        spread = np.mean(between) if between and calibration.n_references > 1 else 0.0
        assert standing.closest == apart.argmin()
        distance = np.clip((apart.mean() - spread / 2) * by, 0, 2)
        assert standing.distance == pytest.approx(distance, rel=1e-5)
        assert standing.decision == calibration.decide(np.array(standing.distance))
        assert standing.log10_lr == calibration.log10_lr(np.array(standing.distance))


def test_the_order_of_references_changes_no_bit(verifier: Verifier) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    three = dataclasses.replace(
        calibrate(trials(1).of("genuine", "skilled_forgery"), POLICY), n_references=5
    )
    both = dataclasses.replace(verifier, calibrations=(verifier.calibrations[0], three))

    def distance(order: np.ndarray) -> float:
        (standing,) = standings(vectors, [(0, (order + 1).tolist())], [both])
        assert standing
        return standing.distance

    assert len({distance(rng.permutation(5)) for _ in range(50)}) == 1
