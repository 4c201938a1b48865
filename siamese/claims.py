"""A folder of claims: each a questioned signature and the references to hold it against.

By convention, one folder a claim: ``<claim_id>/questioned*`` beside ``reference*``. By
manifest, ``claims.csv`` (or ``.parquet``, ``.xlsx``) with the columns ``claim_id, questioned,
reference``: one row a claim, or many with a reference each; a reference may also be a folder.
Or both: what a manifest's row leaves empty is looked for in the claim's folder. A column
``writer_id`` names a writer whose references were enrolled; further columns are carried
through. A page of a TIFF or PDF is named ``scan.pdf#page=2``; without, it is the first.
Nothing outside the claims folder is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.files import fingerprint, shown
from siamese.pictures import (
    Folder,
    ManifestError,
    Picture,
    find_manifest,
    folder_of,
    hash_pictures,
    is_folder,
    is_there,
    need_pdf_reader,
    read_manifest,
)
from siamese.spreadsheets import unguarded
from siamese.tables import CLAIM_DECISIONS

#: Writers by name, with the ids of their enrolled references.
Enrolled = Mapping[str, Sequence[str]]

_OURS = ("claim_id", "questioned", "reference")
_NO_ID = "(no id, row"
#: Names of the decisions table, which a manifest's own columns may not take.
RESERVED = tuple(CLAIM_DECISIONS.schema.names)

_AT_ONCE = 1024  # claims that are made while all are gone through


@dataclass(frozen=True)
class Claim:
    """One claim. ``problem`` says why it cannot be scored, and is empty when it can.

    ``detail`` is a sentence on the problem, or on what is missing from a claim that can.
    ``enrolled`` are the image ids of references that were enrolled before.
    """

    claim_id: str
    questioned: Picture | None
    references: tuple[Picture, ...]
    problem: str = ""
    detail: str = ""
    further: dict[str, str] = field(default_factory=dict)
    enrolled: tuple[str, ...] = ()

    @property
    def writer(self) -> str:
        """Whose references are enrolled, as the column ``writer_id`` names them."""
        return _writer_in(self.further)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (*((self.questioned,) if self.questioned else ()), *self.references)


def _writer_in(further: Mapping[str, str]) -> str:
    return unguarded(further.get("writer_id", "").strip())


class Claims(Sequence[Claim]):
    """Claims sorted by id; each is made, and its pictures looked for, when it is asked for.

    So that a hundred thousand of them take no more memory than their manifest.

    Parameters
    ----------
    make : the claims from one place in the order to another, the latter exclusive.
    """

    def __init__(self, count: int, make: Callable[[int, int], list[Claim]]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, which: int) -> Claim: ...
    @overload
    def __getitem__(self, which: slice) -> list[Claim]: ...
    def __getitem__(self, which: int | slice) -> Claim | list[Claim]:
        places = range(self._count)[which]
        if isinstance(places, int):
            return self._make(places, places + 1)[0]
        return self._make(places.start, places.stop)[:: places.step] if places else []

    def __iter__(self) -> Iterator[Claim]:
        for start in range(0, self._count, _AT_ONCE):
            yield from self[start : start + _AT_ONCE]


def read_claims(root: Path, enrolled: Enrolled | None = None) -> Claims:
    """Claims of a folder, or of one manifest in it, sorted by id; each bad one says why.

    Parameters
    ----------
    enrolled : references that need no picture, by ``writer_id``.

    Raises
    ------
    ManifestError : there is no such folder, no claim in it, or its manifest cannot be read.
    """
    if not root.exists():
        raise ManifestError(f"The claims folder {root} does not exist.")
    given, root = root, root.resolve()
    folder, manifest = folder_of(root), find_manifest(root, "claims")
    claims = _from_manifest(manifest, folder, enrolled or {}) if manifest else _from_folders(folder)
    if len(claims) == 0:
        raise ManifestError(
            f"There are no claims in {given}: expected claims.csv, .parquet or .xlsx with the "
            "columns claim_id, questioned, reference, or folders <claim_id>/ with a questioned* "
            "and at least one reference* picture."
        )
    need_pdf_reader((picture for claim in claims for picture in claim.pictures), given)
    return claims


def hash_claims(claims: Sequence[Claim]) -> dict[Picture, str]:
    """Id of every picture that the claims name, from its content."""
    return hash_pictures(picture for claim in claims for picture in claim.pictures)


def fingerprint_claims(claims: Sequence[Claim], root: Path) -> str:
    """16 hex digits that name claims by all that their decisions follow from.

    Parameters
    ----------
    root : where the names of pictures start.
    """
    digest, root = hashlib.sha256(), root.resolve()
    for start in range(0, len(claims), _AT_ONCE):
        some = claims[start : start + _AT_ONCE]
        ids = hash_claims(some)
        for claim in some:
            digest.update(claim_fingerprint(claim, ids, root).encode())
    return digest.hexdigest()[:16]


def claim_fingerprint(claim: Claim, ids: Mapping[Picture, str], root: Path) -> str:
    """Names a claim by all that its decision follows from."""
    pictures = [(picture.name(root), ids[picture]) for picture in claim.pictures]
    return fingerprint(
        claim.claim_id, claim.problem, claim.detail, claim.further, pictures, claim.enrolled
    )


def _from_folders(root: Path) -> Claims:
    names = sorted(path.name for path in root.iterdir() if path.is_dir())

    def make(start: int, stop: int) -> list[Claim]:
        within = Folder(root)
        return [
            _checked(shown(name), *_pictures_of(within, root / name), {}, {})
            for name in names[start:stop]
        ]

    return Claims(len(names), make)


def _pictures_of(within: Folder, folder: Path) -> tuple[list[Picture], list[Picture]]:
    """Questioned and reference pictures of a claim's own folder."""
    pictures = within.below(folder)
    questioned, references = (
        [p for p in pictures if p.path.stem.lower().startswith(word)]
        for word in ("questioned", "reference")
    )
    return questioned, references


def _from_manifest(manifest: Path, root: Path, enrolled: Enrolled) -> Claims:
    table = _with_our_columns(read_manifest(manifest), manifest, root)
    # A column named like one of ours is kept, under a name that cannot pass for ours.
    for name in set(RESERVED) - set(_OURS):
        if name in table.columns:
            free = f"manifest_{name}"
            while free in table.columns:
                free = f"manifest_{free}"
            table = table.rename(columns={name: free})
    table["claim_id"] = table["claim_id"].str.strip()
    nameless = table["claim_id"] == ""
    table.loc[nameless, "claim_id"] = [f"{_NO_ID} {row + 2})" for row in table.index[nameless]]
    table = table.sort_values("claim_id", kind="stable", ignore_index=True)
    named = _named(table, root, enrolled)
    unnamed = _unnamed(root, named, table)
    return named if not unnamed else _merged(named, unnamed)


def _named(table: pd.DataFrame, root: Path, enrolled: Enrolled) -> Claims:
    """Claims of a manifest's rows, which are sorted by ``claim_id``."""
    ids = table["claim_id"]
    first = np.flatnonzero((ids != ids.shift()).to_numpy())
    ends: npt.NDArray[np.int64] = np.append(first[1:], len(table))

    def make(start: int, stop: int) -> list[Claim]:
        begin, end = int(first[start]), int(ends[stop - 1])
        part = table.iloc[begin:end]
        cells = {str(name): part[name].tolist() for name in part.columns}
        within, made = Folder(root), []
        for a, b in zip(first[start:stop] - begin, ends[start:stop] - begin, strict=True):
            rows = {name: values[a:b] for name, values in cells.items()}
            made.append(_claim(rows["claim_id"][0], rows, within, enrolled))
        return made

    return Claims(len(first), make)


def _merged(named: Claims, others: list[Claim]) -> Claims:
    """Both, by id. Where some claims are not in the manifest, all are made now."""
    every = sorted([*named, *others], key=lambda claim: claim.claim_id)
    return Claims(len(every), lambda start, stop: every[start:stop])


def _with_our_columns(table: pd.DataFrame, manifest: Path, root: Path) -> pd.DataFrame:
    """The table with all of our columns, those that folders or enrolment stand in for empty."""
    missing = [name for name in _OURS if name not in table.columns]
    stand_in = (
        missing
        and "claim_id" in table.columns
        and any(is_folder(root / name) for name in table["claim_id"].str.strip() if _plain(name))
    )
    if "writer_id" in table.columns and missing == ["reference"]:
        stand_in = True
    if missing and not stand_in:
        raise ManifestError(
            f"{manifest} lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}. What a manifest leaves out is looked for in "
            "folders <claim_id>/ beside it, and there is none."
        )
    return table.assign(**dict.fromkeys(missing, ""))


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
    asked = [within.picture(text) for text in dict.fromkeys(rows["questioned"]) if text]
    references = [p for text in rows["reference"] if text for p in within.expand(text)]
    if name.startswith(_NO_ID):
        return Claim(name, None, (), "claim_without_id", "The claim_id is empty.", further)
    if None in asked or None in references:
        detail = "A path is not valid or leaves the claims folder."
        return Claim(name, None, (), "path_outside", detail, further)
    if (not asked or not references) and _plain(name) and is_folder(within.root / name):
        own_asked, own_references = _pictures_of(within, within.root / name)
        asked, references = asked or [*own_asked], references or [*own_references]
    return _checked(
        name,
        [picture for picture in asked if picture],
        [picture for picture in references if picture],
        further,
        enrolled,
    )


def _unnamed(root: Path, claims: Claims, table: pd.DataFrame) -> list[Claim]:
    """Claims in folders that the manifest does not name: nothing is passed over."""
    further = {str(name): "" for name in table.columns if name not in _OURS}
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if folders:
        named = set(table["claim_id"])
        folders = [folder for folder in folders if folder.name not in named]
    within = Folder(root)
    left = [(folder, *_pictures_of(within, folder)) for folder in folders]
    left = [one for one in left if one[1]]
    if not left:  # so that not all claims are made for nothing
        return []
    used = {picture for claim in claims for picture in claim.pictures}
    found = []
    for folder, questioned, references in left:
        if not used & {*questioned, *references}:
            made = _checked(shown(folder.name), questioned, references, further, {})
            notice = "The manifest does not name this claim; its folder was read."
            found.append(replace(made, detail=" ".join(filter(None, (made.detail, notice)))))
    return found


def _checked(
    claim_id: str,
    questioned: list[Picture],
    references: list[Picture],
    further: dict[str, str],
    enrolled: Enrolled,
) -> Claim:
    writer = _writer_in(further)
    kept = tuple(enrolled.get(writer, ()))
    references = list(dict.fromkeys(references))
    if len(questioned) != 1:
        problem = "no_questioned" if not questioned else "several_questioned"
        detail = f"{len(questioned)} questioned signatures were given; a claim has exactly one."
        return Claim(claim_id, None, (), problem, detail, further)
    absent = [path for path in (questioned[0], *references) if not is_there(path)]
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
