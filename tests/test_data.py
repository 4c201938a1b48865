"""Sources, audit, splits and pairs: nothing leaks, nothing is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from siamese.audit import AuditRefused, audit_files
from siamese.config import AuditSettings, PairSettings, SourceSettings, SplitSettings
from siamese.files import sha256_of, sha256_of_file
from siamese.pairs import PairError, build_pairs, check_kinds
from siamese.sources import SourceError, fetch_and_read, synthetic
from siamese.sources.listing import Listing, Protocol, PublishedPairs
from siamese.splitting import SplitError, assert_disjoint, parse_writers, split_writers

# --- sources ---------------------------------------------------------------------------------


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 20), 255).save(path)
    return path


def read(kind: str, path: Path) -> Listing:
    return fetch_and_read(SourceSettings(kind=kind, path=path), path, seed=1)


def test_kaggle_layout(kaggle_root: Path) -> None:
    found = read("kaggle", kaggle_root)
    assert len(found.images) == 1649 + 500
    train = [image for image in found.images if image.part == "train"]
    assert len({image.writer for image in train}) == 64
    assert {image.kind for image in train} == {"genuine", "skilled_forgery"}
    assert [len(pairs.rows) for pairs in found.published_pairs] == [23206, 5748]
    assert found.unread == ()


def test_bhsig260_layout(hindi_root: Path) -> None:
    found = read("bhsig260", hindi_root)
    assert len(found.images) == 5400
    first = [image for image in found.images if image.writer == "001"]
    assert sum(image.kind == "genuine" for image in first) == 24
    assert sum(image.kind == "skilled_forgery" for image in first) == 30


def test_two_scripts_whose_writers_have_the_same_numbers_are_refused(tmp_path: Path) -> None:
    for name in ("Hindi/001/H-S-1-G-01.tif", "Bengali/001/B-S-1-G-01.tif"):
        touch(tmp_path / name)
    with pytest.raises(SourceError, match="Hindi and Bengali; name the folder"):
        read("bhsig260", tmp_path)
    assert len(read("bhsig260", tmp_path / "Bengali").images) == 1


def test_cedar_layout(tmp_path: Path) -> None:
    touch(tmp_path / "full_org" / "original_1_2.png")
    touch(tmp_path / "full_forg" / "forgeries_12_24.png")
    touch(tmp_path / "full_org" / "holiday.png")
    found = read("cedar", tmp_path)
    assert [(i.writer, i.kind) for i in found.images] == [
        ("012", "skilled_forgery"),
        ("001", "genuine"),
    ]
    assert [name for name, _ in found.unread] == ["full_org/holiday.png"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_manifest_keeps_good_rows_and_says_what_is_wrong_with_others(
    tmp_path: Path, form: str
) -> None:
    root = tmp_path / "mine"
    touch(root / "a.png")
    touch(tmp_path / "outside.png")
    table = pd.DataFrame(
        [
            ("a.png", "anna", "genuine"),
            ("../outside.png", "anna", "genuine"),
            ("gone.png", "anna", "genuine"),
            ("a.png", "anna", "traced"),
        ],
        columns=["path", "writer", "kind"],
    )
    path = root / f"manifest.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
    for given_path in (root, path):
        found = read("manifest", given_path)
        assert [i.path for i in found.images] == ["a.png"]
        assert [why for _, why in found.unread] == [
            "the path leaves the manifest's folder",
            "there is no such file",
            "kind is 'traced', not genuine or skilled_forgery",
        ]


@pytest.mark.parametrize("kind", ["kaggle", "bhsig260", "cedar", "manifest"])
def test_missing_and_empty_folders_are_said(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not exist"):
        read(kind, tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"No signatures|no manifest"):
        read(kind, tmp_path)


def test_synthetic_is_the_same_for_a_seed_and_made_once(tmp_path: Path) -> None:
    def generate(folder: str, seed: int) -> dict[str, str]:
        settings = SourceSettings(writers=6, images=3)
        listing = fetch_and_read(settings, tmp_path / folder, seed)
        return {i.path: sha256_of_file(listing.root / i.path) for i in listing.images}

    first = generate("a", 1)
    assert len(first) == 6 * 2 * 3
    assert generate("b", 1) == first == generate("a", 1)
    assert set(generate("a", 2).values()).isdisjoint(first.values())


def test_example_claims_have_their_faults(tmp_path: Path) -> None:
    made = synthetic.write_claims(tmp_path, seed=1, claims=6)
    with (tmp_path / "truth.csv").open() as handle:
        kinds = [row["kind"] for row in csv.DictReader(handle)]
    assert made == len(kinds) == 12
    assert {"genuine", "skilled_forgery", "blank", "damaged", "pasted"} <= set(kinds)


# --- audit -----------------------------------------------------------------------------------


def files_table(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    """(content, writer, kind, part) to a files table."""
    return pd.DataFrame(
        [
            {
                "image_id": sha256_of(content.encode()),
                "path": f"/x/{number}.png",
                "writer": writer,
                "kind": kind,
                "source": "kaggle",
                "part": part,
            }
            for number, (content, writer, kind, part) in enumerate(rows)
        ]
    )


def test_audit_finds_the_leaks_of_the_public_copy(kaggle_root: Path) -> None:
    listing = read("kaggle", kaggle_root)
    files = pd.DataFrame(
        [
            {
                "image_id": sha256_of_file(listing.root / i.path),
                "path": i.path,
                "writer": i.writer,
                "kind": i.kind,
                "source": "kaggle",
                "part": i.part,
            }
            for i in listing.images
        ]
    )
    pairs = [("kaggle", published) for published in listing.published_pairs]
    kept, findings = audit_files(files, pairs, [], AuditSettings())
    leaks = [finding for finding in findings if finding.level == "leak"]
    assert [leak.code for leak in leaks] == ["test_in_train"] + ["label_from_folder"] * 2
    assert "500 of 500 files in test/" in leaks[0].found
    assert all("not used" in leak.done for leak in leaks)
    assert len(kept) == kept["image_id"].nunique()
    assert not kept["path"].str.startswith("test/").any()
    with pytest.raises(AuditRefused, match="byte-identical"):
        audit_files(files, pairs, [], AuditSettings(on_leak="stop"))


def test_audit_is_quiet_about_honest_data() -> None:
    rows = [(f"{w}{n}", w, "genuine", "train") for w in "ab" for n in range(3)]
    honest = PublishedPairs(
        "pairs.csv",
        tuple((f"{a}/1.png", f"{b}/2.png", int(a != b)) for a in "abcd" for b in "abcd"),
    )
    kept, findings = audit_files(files_table(rows), [("s", honest)], [], AuditSettings())
    assert (len(kept), findings) == (6, [])


def test_audit_drops_contradictions_and_thin_writers_and_says_so() -> None:
    rows = [(f"a{n}", "a", "genuine", "") for n in range(3)]
    rows += [("twice", "a", "genuine", ""), ("twice", "b", "genuine", "")]
    rows += [("c1", "c", "genuine", "")]
    kept, findings = audit_files(files_table(rows), [], [("odd.png", "why")], AuditSettings())
    assert set(kept["writer"]) == {"a"}
    assert len(kept) == 3
    assert [f.code for f in findings] == ["contradiction", "few_images", "not_placed"]


# --- splits ----------------------------------------------------------------------------------


def images_table(writers: int, genuine: int = 4, forged: int = 3) -> pd.DataFrame:
    rows = [
        (f"{w:03d}-{kind}-{n}", f"s:{w:03d}", kind)
        for w in range(1, writers + 1)
        for kind, count in (("genuine", genuine), ("skilled_forgery", forged))
        for n in range(count)
    ]
    table = pd.DataFrame(rows, columns=["path", "writer", "kind"])
    table["image_id"] = [sha256_of(path.encode()) for path in table["path"]]
    return table.assign(source="s", perceptual_hash=table["image_id"], quality="ok")


@given(st.integers(6, 80), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_writer_is_in_two_splits_and_none_is_lost(writers: int, seed: int) -> None:
    images = images_table(writers, 2, 1)
    splits = split_writers(images, {}, SplitSettings(), seed)
    assert sorted(splits["writer"]) == sorted(images["writer"].unique())
    assert set(splits["split"]) == {"train", "calibration", "test"}


@given(st.integers(20, 60), st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_writers_stay_in_their_split_when_others_are_added(writers: int, more: int) -> None:
    before, after = (
        split_writers(images_table(n, 2, 0), {}, SplitSettings(), 5).set_index("writer")["split"]
        for n in (writers, writers + more)
    )
    moved = (before != after[before.index]).sum()
    # Only where a split was below its least size of two.
    assert moved <= 2


def test_protocol_is_followed() -> None:
    protocol = {"s": Protocol(train="001-004", calibration="005,006", test="007-009")}
    splits = split_writers(images_table(10), protocol, SplitSettings(), 1)
    by_split = splits.groupby("split")["writer"].apply(list).to_dict()
    assert by_split["calibration"] == ["s:005", "s:006"]
    assert len(by_split["train"]) == 4
    assert "s:010" not in set(splits["writer"])


def test_split_refuses_what_would_leak() -> None:
    images = images_table(4)
    twice = {"s": Protocol(train="001-002", calibration="002-003", test="004")}
    with pytest.raises(SplitError, match="s:002"):
        split_writers(images, twice, SplitSettings(), 1)
    unknown = {"s": Protocol(train="001-002", calibration="003", test="bob")}
    with pytest.raises(SplitError, match="Writer bob, asked for in test, is not in s"):
        split_writers(images, unknown, SplitSettings(), 1)
    with pytest.raises(SplitError, match="No writer is left for test"):
        split_writers(images, {"s": Protocol("001", "002", "090-099")}, SplitSettings(), 1)
    same_look = images.assign(perceptual_hash="ab" * 32)
    splits = pd.DataFrame({"writer": ["s:001", "s:002"], "split": ["train", "test"]})
    with pytest.raises(SplitError, match="same picture"):
        assert_disjoint(same_look, splits)


def test_writers_who_share_a_picture_share_a_split() -> None:
    images = images_table(30)
    # Each writer has a picture that is also the next one's, saved anew, up to the tenth.
    for number in range(1, 10):
        rows = images.index[images["writer"] == f"s:{number:03d}"][-1:].union(
            images.index[images["writer"] == f"s:{number + 1:03d}"][:1]
        )
        images.loc[rows, "perceptual_hash"] = f"{number:02x}" * 32
    splits = split_writers(images, {}, SplitSettings(), 5).set_index("writer")["split"]
    assert splits[[f"s:{number:03d}" for number in range(1, 11)]].nunique() == 1
    assert splits.nunique() == 3
    alone = split_writers(images_table(30), {}, SplitSettings(), 5).set_index("writer")["split"]
    rest = [f"s:{number:03d}" for number in range(11, 31)]
    # Only where a split was below its least size of two.
    assert (splits[rest] != alone[rest]).sum() <= 2


def test_writer_ranges() -> None:
    assert parse_writers("001-003,anna") == {"001", "002", "003", "anna"}
    assert parse_writers("8-11") == {"8", "9", "10", "11"}


# --- pairs -----------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 4), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_pair_kinds_and_labels(writers: int, genuine: int, forged: int, seed: int) -> None:
    images = images_table(writers, genuine, forged)
    pairs = build_pairs(images, PairSettings(), seed)
    kind_of = images.set_index("image_id")["kind"]
    writer_of = images.set_index("image_id")["writer"]
    assert (pairs["label"] == (pairs["kind"] == "genuine")).all()
    assert (kind_of[pairs["reference_id"]] == "genuine").all()
    assert (writer_of[pairs["reference_id"]].to_numpy() == pairs["writer"]).all()
    assert (writer_of[pairs["questioned_id"]].to_numpy() == pairs["questioned_writer"]).all()
    skilled, random = (
        pairs[pairs["kind"] == kind] for kind in ("skilled_forgery", "random_forgery")
    )
    assert (kind_of[skilled["questioned_id"]] == "skilled_forgery").all()
    assert (skilled["writer"] == skilled["questioned_writer"]).all()
    assert (kind_of[random["questioned_id"]] == "genuine").all()
    assert (random["writer"] != random["questioned_writer"]).all()
    assert (pairs["reference_id"] != pairs["questioned_id"]).all()
    assert pairs["pair_id"].is_unique
    counts = pairs["kind"].value_counts()
    assert counts.get("genuine", 0) == writers * genuine * (genuine - 1) // 2
    assert counts.get("skilled_forgery", 0) == writers * genuine * forged


def test_random_forgeries_are_of_the_same_source() -> None:
    images = images_table(6)
    images["source"] = np.where(images["writer"] < "s:004", "here", "there")
    source_of = images.set_index("image_id")["source"]
    pairs = build_pairs(images, PairSettings(), 1)
    pairs = pairs[pairs["kind"] == "random_forgery"]
    assert len(pairs) == 6 * 4 * 2 * 4
    assert (
        source_of[pairs["reference_id"]].to_numpy() == source_of[pairs["questioned_id"]].to_numpy()
    ).all()


def test_pairs_do_not_depend_on_row_order() -> None:
    images = images_table(5)
    shuffled = images.sample(frac=1, random_state=1)
    a, b = (build_pairs(table, PairSettings(max_random=7), 3) for table in (images, shuffled))
    pd.testing.assert_frame_equal(a, b)


def test_pairs_leave_out_unusable_pictures_and_copies() -> None:
    images = images_table(2, 3, 1)
    images.loc[0, "quality"] = "blank"
    images.loc[1, "perceptual_hash"] = images.loc[2, "perceptual_hash"]
    pairs = build_pairs(images, PairSettings(), 1)
    mine = pairs[pairs["writer"] == "s:001"]
    assert (mine["kind"] != "genuine").all()
    assert images.loc[0, "image_id"] not in set(pairs["reference_id"]) | set(pairs["questioned_id"])


def test_a_copy_under_another_name_is_no_random_forgery() -> None:
    images = images_table(3, 2, 1)
    copied, copy = images.index[images["writer"].isin(["s:001", "s:002"])][[0, 3]]
    images.loc[copy, "perceptual_hash"] = images.loc[copied, "perceptual_hash"]
    pairs = build_pairs(images, PairSettings(), 1)
    both = set(images.loc[[copied, copy], "image_id"])
    asked = pairs[["reference_id", "questioned_id"]].isin(both).all(axis=1)
    assert not asked.any()
    # Nor may it be asked of any other reference of that writer, who is its own writer.
    mine = pairs[(pairs["writer"] == "s:001") & (pairs["kind"] == "random_forgery")]
    assert images.loc[copy, "image_id"] not in set(mine["questioned_id"])


def test_a_split_without_forgeries_is_refused_by_name() -> None:
    pairs = build_pairs(images_table(4, forged=0), PairSettings(), 1)
    with pytest.raises(PairError, match="The calibration split has no skilled_forgery pairs"):
        check_kinds(pairs, "calibration")
    check_kinds(build_pairs(images_table(4), PairSettings(), 1), "calibration")


def test_most_pairs_per_writer() -> None:
    limits = PairSettings(max_genuine=2, max_skilled=3, max_random=4)
    counts = build_pairs(images_table(4), limits, 1).groupby(["writer", "kind"]).size()
    assert np.array_equal(np.unique(counts), [2, 3, 4])
