"""Manifests and folders as people and strangers make them: nothing is passed over in silence."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_verifier import small_verifier
from test_scoring import scored, write_manifest

from siamese.claims import fingerprint_claims
from siamese.intake import read_claims
from siamese.manifests import ManifestError
from siamese.sources import synthetic
from siamese.spreadsheets import people_csv, unguarded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the pictures of one claim."""
    synthetic.write_claims(tmp_path, seed=1, claims=1)
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("questioned", "reference_1"):
        shutil.copy(tmp_path / "claims" / f"C-0001_{name}.png", folder / f"{name}.png")
    return folder


def claims_of(root: Path, text: str) -> dict[str, tuple[str, str]]:
    found = read_claims(write_manifest(root, text))
    return {claim.claim_id: (claim.problem, claim.detail) for claim in found}


@pytest.mark.parametrize("name", ["x" * 300, "é" * 150, "a/b", "..", "nul\0"])
def test_ids_that_can_be_no_folder_cost_nothing(root: Path, name: str) -> None:
    text = f"claim_id,questioned,reference\n{name},,\ngood,questioned.png,reference_1.png\n"
    assert claims_of(root, text)["good"] == ("", "")


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_column_that_is_there_twice_is_refused(root: Path, suffix: str) -> None:
    path = root / f"claims{suffix}"
    names = ["claim_id", "questioned", "reference", "reference"]
    table = pd.DataFrame([["a", "questioned.png", "reference_1.png", "b.png"]], columns=names)
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_excel(path, index=False)
    with pytest.raises(ManifestError, match="two columns reference"):
        read_claims(root)


def test_rows_that_stray_quotes_hide_are_not_lost_in_silence(root: Path) -> None:
    text = 'claim_id,questioned,reference\na,"q.png,r.png\nb,q.png,r.png\nc,"q.png,r.png\n'
    with pytest.raises(ManifestError, match="questioned goes over several lines, near row 2"):
        claims_of(root, text)


def test_spaces_around_a_path_and_other_ways_to_write_it_are_nothing(root: Path) -> None:
    text = (
        "claim_id,questioned,reference\n"
        "a, questioned.png ,reference_1.png \na,./questioned.png,reference_1.png\n"
    )
    assert claims_of(root, text) == {"a": ("", "")}


def test_pictures_in_folders_called_questioned_and_reference(root: Path) -> None:
    for name in ("questioned", "reference_1"):
        (root / "a" / name).mkdir(parents=True)
        (root / f"{name}.png").rename(root / "a" / name / "scan.png")
    (claim,) = read_claims(root)
    assert not claim.problem
    assert claim.questioned is not None
    assert claim.questioned.path.parent.name == "questioned"
    assert [one.path.parent.name for one in claim.references] == ["reference_1"]


def test_the_root_of_the_disk_may_be_allowed(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    table = f"claim_id,questioned,reference\na,{root}/questioned.png,{root}/reference_1.png\n"
    path = write_manifest(elsewhere, table)
    assert [claim.problem for claim in read_claims(path)] == ["path_outside"]
    assert [claim.problem for claim in read_claims(path, {}, [Path("/")])] == [""]


def test_all_that_is_there_is_no_reference_and_many_are_too_many(root: Path) -> None:
    many = "".join(f"many,questioned.png,{number}.png\n" for number in range(201))
    found = claims_of(
        root,
        "claim_id,questioned,reference\nall,questioned.png,.\nagain,questioned.png,x/..\n"
        f"good,questioned.png,reference_1.png\n{many}",
    )
    assert {found["all"][0], found["again"][0]} == {"path_outside"}
    assert found["many"][0] == "too_many_references"
    assert "201 references; at most 200" in found["many"][1]
    assert found["good"] == ("", "")


def test_folders_that_lead_out_or_down_for_ever_cost_only_their_claims(
    root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("questioned", "reference_1"):
        shutil.copy(root / f"{name}.png", outside / f"{name}.png")
    claims = tmp_path / "folders"
    for name in ("deep", "good"):
        shutil.copytree(outside, claims / name)
    (claims / "out").symlink_to(outside)
    (claims / "deep" / "again").symlink_to(claims / "deep")
    there = os.open(claims / "deep", os.O_DIRECTORY)
    for _ in range(1200):  # deeper than a path can be long
        os.mkdir("d", dir_fd=there)
        there, before = os.open("d", os.O_DIRECTORY, dir_fd=there), there
        os.close(before)
    os.close(there)
    try:
        found = {claim.claim_id: claim.problem for claim in read_claims(claims)}
    finally:
        subprocess.run(["rm", "-rf", claims / "deep"], check=True)
    assert found == {"deep": "", "good": "", "out": "no_questioned"}


def test_a_long_reference_costs_only_its_claim(root: Path) -> None:
    found = claims_of(
        root,
        f"claim_id,questioned,reference\nlong,questioned.png,{'y' * 300}\n"
        "good,questioned.png,reference_1.png\n",
    )
    assert found["long"][0] in ("path_outside", "reference_missing")
    assert found["good"] == ("", "")


def test_names_that_are_not_utf8_are_scored_and_shown_escaped(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd" / os.fsdecode(b"b\xff")
    folder.mkdir(parents=True)
    shutil.copy(root / "questioned.png", folder)
    shutil.copy(root / "reference_1.png", folder / os.fsdecode(b"reference\xff.png"))
    found = scored(tmp_path / "odd", small_verifier(), tmp_path / "store")
    assert found["claim_id"].tolist() == ["b\\udcff"]
    assert found["closest_reference"].tolist() == ["b\\udcff/reference\\udcff.png"]
    assert found["distance"].notna().all()


def test_rows_that_contradict_each_other_keep_all_they_say(root: Path) -> None:
    write_manifest(
        root,
        "claim_id,questioned,reference,amount,writer_id\n"
        "a,questioned.png,reference_1.png,10,\na,questioned.png,reference_1.png,50000,eva\n",
    )
    (claim,) = read_claims(root)
    assert claim.further == {"amount": "10; 50000", "writer_id": "eva"}
    assert claim.writer == "eva"


def test_columns_named_like_ours_keep_apart(root: Path) -> None:
    write_manifest(
        root,
        "claim_id,questioned,reference,decision,manifest_decision\n"
        "a,questioned.png,reference_1.png,accept,reject\n",
    )
    (claim,) = read_claims(root)
    assert set(claim.further.values()) == {"accept", "reject"}


def test_a_link_in_a_claims_folder_is_what_its_own_name_says(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "questioned.png").symlink_to(root / "reference_1.png")
    (root / "a" / "reference.png").symlink_to(root / "questioned.png")
    (claim,) = read_claims(root)
    assert claim.problem == ""
    assert claim.questioned is not None
    assert claim.questioned.path.name == "reference_1.png"
    assert [picture.path.name for picture in claim.references] == ["questioned.png"]


def test_each_row_without_an_id_is_a_claim_of_its_own(root: Path) -> None:
    found = claims_of(
        root,
        "claim_id,questioned,reference\n,questioned.png,reference_1.png\n"
        "(no id),questioned.png,reference_1.png\n,questioned.png,reference_1.png\n",
    )
    assert [problem for problem, _ in found.values()].count("claim_without_id") == 2
    assert {"(no id, row 2)", "(no id, row 4)", "(no id)"} == set(found)


def test_a_ragged_csv_is_refused_and_other_forms_are_read(root: Path) -> None:
    with pytest.raises(ManifestError, match="could not be read"):
        claims_of(root, "claim_id,questioned,reference\na,questioned.png,reference_1.png,\n")
    good = {"a": ("", "")}
    row = "a;questioned.png;reference_1.png\n"
    assert claims_of(root, f"\ufeffclaim_id;questioned;reference\n{row}") == good
    (root / "claims.csv").write_bytes("claim_id,é\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="save it as CSV UTF-8"):
        read_claims(root)
    (root / "claims.csv").unlink()
    table = pd.DataFrame(
        {"claim_id": ["a", "b"], "questioned": "questioned.png", "reference": "reference_1.png"}
    ).assign(writer_id=pd.array([123, None], "Int64"))
    table.to_parquet(root / "claims.parquet")
    assert [claim.writer for claim in read_claims(root)] == ["123", ""]


def test_cells_of_any_type_are_text(root: Path) -> None:
    there = {"questioned": "questioned.png", "reference": "reference_1.png"}
    odd = pa.table(
        {
            "claim_id": pa.array([7, None, 9]),
            **{name: pa.array([value] * 3).dictionary_encode() for name, value in there.items()},
            "flag": pa.array([True, False, None]),
            "day": pa.array([date(2026, 11, 25)] * 3),
            "list": pa.array([["a", "b"], [], None]),
            "bytes": pa.array([b"\xff", b"", None]),
            "nested": pa.array([{"a": 1}] * 3),
        }
    )
    pq.write_table(odd, root / "claims.parquet")
    found = {claim.claim_id: claim for claim in read_claims(root)}
    assert set(found) == {"7", "9", "(no id, row 3)"}
    assert not found["7"].problem
    assert found["7"].further["day"] == "2026-11-25"
    assert all(isinstance(cell, str) for claim in found.values() for cell in claim.further.values())
    # A picture's name that is none is a claim's own problem.
    wrong = odd.set_column(1, "questioned", pa.array([1.5, 2.5, 3.5]))
    pq.write_table(wrong, root / "claims.parquet")
    assert {claim.problem for claim in read_claims(root)} == {
        "questioned_missing",
        "claim_without_id",
    }


@pytest.mark.slow
def test_a_workbook_that_unpacks_to_gigabytes_is_refused(root: Path) -> None:
    with (
        zipfile.ZipFile(root / "claims.xlsx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(33):
            part.write(bytes(64 * 1024**2))
    with pytest.raises(ManifestError, match="unpacked it would have"):
        read_claims(root)


def test_a_workbook_may_not_be_wide(root: Path) -> None:
    wide = pd.DataFrame([[""] * 300], columns=[""] * 300)
    wide.iloc[0, 0] = wide.iloc[0, 299] = "x"
    wide.to_excel(root / "claims.xlsx", index=False, header=False)
    with pytest.raises(ManifestError, match="more than 256 columns"):
        read_claims(root)


ROWS = int(os.environ.get("MANIFEST_ROWS", "1000000"))
_READ = """
import resource, sys
from pathlib import Path
from siamese.intake import read_claims
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
claims = read_claims(Path(sys.argv[1]))
middle = claims[len(claims) // 2]
print(len(claims), middle.claim_id, len(middle.references), middle.problem, peak() - before)
"""


@pytest.mark.slow
def test_a_manifest_lies_on_disk(root: Path) -> None:
    """MANIFEST_ROWS=10000000 for the ten million that were promised: two minutes."""
    order = list(range(ROWS))
    random.Random(1).shuffle(order)
    with (root / "claims.csv").open("w") as out:
        out.write("claim_id,questioned,reference,amount\n")
        out.writelines(
            f"C-{row // 2:08d},questioned.png,reference_{row % 2}.png,{row % 977}\n"
            for row in order
        )
    (root / "reference_0.png").write_bytes((root / "reference_1.png").read_bytes())
    told = subprocess.check_output([sys.executable, "-c", _READ, root], text=True).split()
    count, name, references, took = int(told[0]), told[1], int(told[2]), int(told[3])
    assert (count, name, references) == (ROWS // 2, f"C-{ROWS // 4:08d}", 2)
    assert took < 250 * ROWS  # bytes; the same as a table of pandas took three times as much


def test_other_folders_are_read_when_they_are_allowed(root: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(root / "reference_1.png", scans / "r.png")
    (scans / "out.png").symlink_to("/etc/passwd")
    write_manifest(
        root,
        f"claim_id,questioned,reference\na,questioned.png,{scans}/r.png\n"
        f"b,questioned.png,../scans/r.png\nc,questioned.png,{scans}/../{tmp_path.name}/x.png\n"
        f"d,questioned.png,{scans}/out.png\n",
    )
    assert {claim.problem for claim in read_claims(root)} == {"path_outside"}
    found = {claim.claim_id: claim for claim in read_claims(root, besides=[scans])}
    assert [found[name].problem for name in "abcd"] == ["", "", "path_outside", "path_outside"]
    assert found["a"].references[0].name(root) == str(scans / "r.png")


def test_fingerprints_see_what_is_enrolled(root: Path) -> None:
    write_manifest(root, "claim_id,questioned,reference,writer_id\na,questioned.png,,eva\n")
    seen = {
        fingerprint_claims(read_claims(root, enrolled), root)
        for enrolled in ({}, {"eva": ("1" * 64,)}, {"eva": ("2" * 64,)})
    }
    assert len(seen) == 3


def test_no_cell_of_a_csv_for_people_runs_as_a_formula() -> None:
    cells = {
        "=cmd|x": "'=cmd|x", "@a": "'@a", "-5.5": "-5.5", "+x": "'+x", "plain": "plain",
        "a;=1+1;b;-2": "a;'=1+1;b;'-2", "a\r=1+1": "a\r=1+1",
    }  # fmt: skip
    frame = pd.DataFrame({"id": list(cells), "=n": [-1.5, 2, 3, 4, 5, 6, 7]})
    text = people_csv(frame)
    first, *rows = csv.reader(io.StringIO(text, newline=""))
    assert first == ["id", "'=n"]
    assert [row[0] for row in rows] == list(cells.values())
    assert [unguarded(row[0]) for row in rows] == list(cells)
    # In quotes, a carriage return begins no line of its own.
    assert '"a\r=1+1",7.0' in text
