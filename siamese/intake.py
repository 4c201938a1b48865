"""A folder of claims, read.

By convention, one folder a claim: ``<claim_id>/questioned*`` beside ``reference*``. By
manifest, ``claims.csv`` (or ``.parquet``, ``.xlsx``) with the columns ``claim_id, questioned,
reference``: one row a claim, or many with a reference each; a reference may also be a folder.
Or both: what a manifest's row leaves empty is looked for in the claim's folder. A column
``writer_id`` names a writer whose references were enrolled; further columns are carried
through. A page of a TIFF or PDF is named ``scan.pdf#page=2``; without, it is the first.
Nothing outside the claims folder is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siamese.claims import Claim, Claims, writer_in
from siamese.files import shown
from siamese.manifests import Manifest, ManifestError, find_manifest, open_manifest
from siamese.pictures import Folder, Picture, folder_of, is_folder, need_pdf_reader
from siamese.tables import CLAIM_DECISIONS

#: Writers by name, with the ids of their enrolled references.
Enrolled = Mapping[str, Sequence[str]]

# With offsets of 64 bits: the ids of ten million rows may be longer than 2 GiB.
_TEXT = pa.large_string()
_OURS = ("claim_id", "questioned", "reference")
_NO_ID = "(no id, row"
_MOST_REFERENCES = 200  # of a claim; all are compared with each other
#: Names of the decisions table, which a manifest's own columns may not take.
RESERVED = tuple(CLAIM_DECISIONS.schema.names)


def read_claims(
    root: Path, enrolled: Enrolled | None = None, besides: Sequence[Path] = ()
) -> Claims:
    """Claims of a folder, or of one manifest in it, sorted by id; each bad one says why.

    Parameters
    ----------
    enrolled : references that need no picture, by ``writer_id``.
    besides : other folders that a manifest may name pictures of.

    Raises
    ------
    ManifestError : there is no such folder, no claim in it, or its manifest cannot be read.
    """
    if not root.exists():
        raise ManifestError(f"The claims folder {root} does not exist.")
    given, root = root, root.resolve()
    folder, manifest = Folder(folder_of(root), besides), find_manifest(root, "claims")
    claims = _from_manifest(manifest, folder, enrolled or {}) if manifest else _from_folders(folder)
    if len(claims) == 0:
        raise ManifestError(
            f"There are no claims in {given}: expected claims.csv, .parquet or .xlsx with the "
            "columns claim_id, questioned, reference, or folders <claim_id>/ with a questioned* "
            "and at least one reference* picture."
        )
    need_pdf_reader((picture for claim in claims for picture in claim.pictures), given)
    return claims


def _from_folders(within: Folder) -> Claims:
    names = sorted(path.name for path in within.root.iterdir() if path.is_dir())

    def make(start: int, stop: int) -> list[Claim]:
        here = within.again()
        return [
            _checked(here, shown(name), *_pictures_of(here, here.root / name), {}, {})
            for name in names[start:stop]
        ]

    return Claims(len(names), make)


def _pictures_of(within: Folder, folder: Path) -> tuple[list[Picture], list[Picture]]:
    """Questioned and reference pictures of a claim's own folder."""
    questioned, references = within.below(folder, ("questioned", "reference"))
    return questioned, references


def _from_manifest(path: Path, within: Folder, enrolled: Enrolled) -> Claims:
    manifest = open_manifest(path)
    missing = _missing(manifest, path, within.root)
    ids = pc.utf8_trim_whitespace(manifest.column("claim_id").cast(_TEXT)).combine_chunks()
    nameless = pc.equal(ids, "")
    numbers = np.flatnonzero(nameless.to_numpy(zero_copy_only=False))
    ids = pc.replace_with_mask(
        ids, nameless, pa.array([f"{_NO_ID} {row + 2})" for row in numbers], _TEXT)
    )
    named = _named(manifest, missing, ids, within, enrolled)
    unnamed = _unnamed(within, named, manifest, ids)
    return named if not unnamed else _merged(named, unnamed)


def _named(
    manifest: Manifest,
    missing: Sequence[str],
    ids: pa.LargeStringArray,
    within: Folder,
    enrolled: Enrolled,
) -> Claims:
    """Claims of a manifest's rows, in the order of their ids; rows of one claim as they come."""
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    ids = ids.take(pa.array(order))
    first = np.zeros(0, np.int64)
    if len(ids):
        changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        first = np.flatnonzero(np.concatenate([[True], changes]))
    ends: npt.NDArray[np.int64] = np.append(first[1:], len(order))
    columns = _free_names(manifest.columns)

    def make(start: int, stop: int) -> list[Claim]:
        begin, end = int(first[start]), int(ends[stop - 1])
        taken = manifest.take(order[begin:end])
        cells = {columns[name]: values for name, values in taken.items()}
        cells |= {name: [""] * (end - begin) for name in missing}
        here, made = within.again(), []
        for a, b in zip(first[start:stop], ends[start:stop], strict=True):
            rows = {name: values[a - begin : b - begin] for name, values in cells.items()}
            made.append(_claim(ids[int(a)].as_py(), rows, here, enrolled))
        return made

    return Claims(len(first), make)


def _free_names(columns: Sequence[str]) -> dict[str, str]:
    """A column named like one of ours is kept, under a name that cannot pass for ours."""
    names: dict[str, str] = {}
    for name in columns:
        free = name
        if name in RESERVED and name not in _OURS:
            free = f"manifest_{name}"
            while free in columns:
                free = f"manifest_{free}"
        names[name] = free
    return names


def _merged(named: Claims, others: list[Claim]) -> Claims:
    """Both, by id. Where some claims are not in the manifest, all are made now."""
    every = sorted([*named, *others], key=lambda claim: claim.claim_id)
    return Claims(len(every), lambda start, stop: every[start:stop])


def _missing(manifest: Manifest, path: Path, root: Path) -> list[str]:
    """Columns of ours that the manifest lacks, and folders or enrolment stand in for."""
    missing = [name for name in _OURS if name not in manifest.columns]
    if not missing or ("writer_id" in manifest.columns and missing == ["reference"]):
        return missing
    if "claim_id" in manifest.columns:
        names = (str(cell).strip() for cell in manifest.column("claim_id"))
        if any(is_folder(root / name) for name in names if _plain(name)):
            return missing
    raise ManifestError(
        f"{path} lacks the column(s) {', '.join(missing)}; it has "
        f"{', '.join(manifest.columns)}. What a manifest leaves out is looked for in "
        "folders <claim_id>/ beside it, and there is none."
    )


def _plain(name: str) -> bool:
    """Whether a claim's id can be the name of a folder."""
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0"}


def _claim(name: str, rows: Mapping[str, list[str]], within: Folder, enrolled: Enrolled) -> Claim:
    # Rows that differ keep all that they say: two amounts are no number, two labels no label.
    further = {
        column: "; ".join(filter(None, dict.fromkeys(value.strip() for value in values)))
        for column, values in rows.items()
        if column not in _OURS
    }
    paths = {column: [*map(str.strip, rows[column])] for column in ("questioned", "reference")}
    asked = [within.picture(text) for text in dict.fromkeys(paths["questioned"]) if text]
    references = [p for text in paths["reference"] if text for p in within.expand(text)]
    if name.startswith(_NO_ID):
        return Claim(name, None, (), "claim_without_id", "The claim_id is empty.", further)
    if None in asked or None in references:
        detail = "A path is not valid or leaves the claims folder."
        return Claim(name, None, (), "path_outside", detail, further)
    if (not asked or not references) and _plain(name) and is_folder(within.root / name):
        own_asked, own_references = _pictures_of(within, within.root / name)
        asked, references = asked or [*own_asked], references or [*own_references]
    return _checked(
        within,
        name,
        [picture for picture in dict.fromkeys(asked) if picture],
        [picture for picture in references if picture],
        further,
        enrolled,
    )


def _unnamed(
    within: Folder, claims: Claims, manifest: Manifest, ids: pa.LargeStringArray
) -> list[Claim]:
    """Claims in folders that the manifest does not name: nothing is passed over."""
    further = {name: "" for name in _free_names(manifest.columns).values() if name not in _OURS}
    folders = sorted(path for path in within.root.iterdir() if path.is_dir())
    names = pa.array([shown(folder.name) for folder in folders], _TEXT)
    known = pc.is_in(names, value_set=ids).to_pylist()
    folders = [folder for folder, there in zip(folders, known, strict=True) if not there]
    left = [(folder, *_pictures_of(within, folder)) for folder in folders]
    left = [one for one in left if one[1]]
    if not left:  # so that not all claims are made for nothing
        return []
    used = {picture for claim in claims for picture in claim.pictures}
    found = []
    for folder, questioned, references in left:
        if not used & {*questioned, *references}:
            made = _checked(within, shown(folder.name), questioned, references, further, {})
            notice = "The manifest does not name this claim; its folder was read."
            found.append(replace(made, detail=" ".join(filter(None, (made.detail, notice)))))
    return found


def _checked(
    within: Folder,
    claim_id: str,
    questioned: list[Picture],
    references: list[Picture],
    further: dict[str, str],
    enrolled: Enrolled,
) -> Claim:
    writer = writer_in(further)
    kept = tuple(enrolled.get(writer, ()))
    references = list(dict.fromkeys(references))
    if len(questioned) != 1:
        problem = "no_questioned" if not questioned else "several_questioned"
        detail = f"{len(questioned)} questioned signatures were given; a claim has exactly one."
        return Claim(claim_id, None, (), problem, detail, further)
    kept = kept[: max(_MOST_REFERENCES - len(references), 0)]
    if len(references) > _MOST_REFERENCES:
        detail = (
            f"It has {len(references):,} references; at most {_MOST_REFERENCES} are "
            "compared. Name the best of them."
        )
        return Claim(claim_id, None, (), "too_many_references", detail, further)
    absent = [path for path in (questioned[0], *references) if not within.holds(path)]
    if questioned[0] in absent:
        detail = f"The questioned picture {questioned[0].path.name} is not there."
        return Claim(claim_id, None, (), "questioned_missing", detail, further)
    there = tuple(path for path in references if path not in absent)
    unknown = f"No references of writer {writer!r} are enrolled." if writer and not kept else ""
    if not there and not kept:
        problem = "writer_not_enrolled" if unknown and not references else "reference_missing"
        missing = (
            f"The reference {absent[0].path.name} is not there."
            if absent
            else "No reference signature was given."
        )
        detail = unknown if problem == "writer_not_enrolled" else missing
        return Claim(claim_id, questioned[0], (), problem, detail, further)
    gone = len(references) - len(there)
    notice = f"{gone} of {len(references)} references are not there." if gone else ""
    return Claim(claim_id, questioned[0], there, "", notice, further, kept)
