"""A folder of claims: each a questioned signature and the references to hold it against.

By manifest, ``claims.csv`` (or ``.parquet``, ``.xlsx``) with the columns ``claim_id,
questioned, reference``: one row a claim, or many with a reference each; a reference may also be
a folder; further columns are carried through. By convention, one folder a claim:
``<claim_id>/questioned*`` beside ``reference*``. A page of a TIFF or PDF is named
``scan.pdf#page=2``; without, it is the first. Nothing outside the claims folder is read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from siamese.errors import InputError
from siamese.files import fingerprint, sha256_of, sha256_of_file
from siamese.preparing import page_id
from siamese.sources.listing import PICTURES
from siamese.tables import CLAIM_DECISIONS

#: Files that hold signatures: pictures, and the pages of PDF files.
SCANS = PICTURES | {".pdf"}

_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".parquet": pd.read_parquet,
    ".xlsx": lambda path: pd.read_excel(path, dtype=str, keep_default_na=False),
}
_REQUIRED = ("claim_id", "questioned", "reference")
#: Names of the decisions table, which a manifest's own columns may not take.
RESERVED = tuple(CLAIM_DECISIONS.schema.names)


class ClaimsError(InputError):
    """A claims folder that cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True)
class Picture:
    """A page of a file; most files have one."""

    path: Path
    page: int = 1

    def name(self, root: Path) -> str:
        """As a manifest in ``root`` names it."""
        relative = str(self.path.relative_to(root.resolve()))
        return relative if self.page == 1 else f"{relative}#page={self.page}"


def parse_page(name: str) -> tuple[str, int]:
    """File name and page of a picture's name.

    >>> parse_page("scan.pdf#page=2"), parse_page("scan#page=2.png")
    (('scan.pdf', 2), ('scan#page=2.png', 1))
    """
    text, _, number = name.partition("#page=")
    if number.isdecimal() and len(number) <= 6 and int(number):
        return text, int(number)
    return name, 1


@dataclass(frozen=True)
class Claim:
    """One claim. ``problem`` says why it cannot be scored, and is empty when it can.

    ``detail`` is a sentence on the problem, or on what is missing from a claim that can.
    """

    claim_id: str
    questioned: Picture | None
    references: tuple[Picture, ...]
    problem: str = ""
    detail: str = ""
    further: dict[str, str] = field(default_factory=dict)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (*((self.questioned,) if self.questioned else ()), *self.references)


def read_claims(root: Path) -> list[Claim]:
    """Claims of a folder, or of one manifest in it, sorted by id; each bad one says why.

    Raises
    ------
    ClaimsError : there is no such folder, no claim in it, or its manifest cannot be read.
    """
    if not root.exists():
        raise ClaimsError(f"The claims folder {root} does not exist.")
    given, root = root, root.resolve()
    folder = root.parent if root.is_file() else root
    manifest = root if root.is_file() else find_manifest(root)
    claims = _from_manifest(manifest, folder) if manifest else _from_folders(folder)
    if not claims:
        raise ClaimsError(
            f"There are no claims in {given}: expected claims.csv, .parquet or .xlsx with "
            "the columns "
            "claim_id, questioned, reference, or folders <claim_id>/ with a questioned* "
            "and at least one reference* picture."
        )
    pictures = (picture for claim in claims for picture in claim.pictures)
    if importlib.util.find_spec("pypdfium2") is None and any(
        picture.path.suffix.lower() == ".pdf" for picture in pictures
    ):
        raise ClaimsError(
            f"There are PDF files in {root}; reading them needs: pip install pypdfium2"
        )
    return sorted(claims, key=lambda claim: claim.claim_id)


def find_manifest(root: Path) -> Path | None:
    """The manifest in a claims folder, if it has one.

    Raises
    ------
    ClaimsError : it has several.
    """
    found = [root / f"claims{suffix}" for suffix in _READERS]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ClaimsError(f"{root} has {names}; name the one to be read: siamese score {found[0]}")
    return found[0] if found else None


def hash_claims(claims: list[Claim], root: Path) -> tuple[dict[Picture, str], str]:
    """Id of every picture, and the fingerprint of the whole folder as it is read."""
    files: dict[Path, str] = {}
    for path in dict.fromkeys(picture.path for claim in claims for picture in claim.pictures):
        try:
            files[path] = sha256_of_file(path)
        except OSError as error:
            # The name of the failure stands in for the content; preparing it says the rest.
            files[path] = sha256_of(f"unreadable {path} {error.strerror}".encode())
    ids = {
        picture: page_id(files[picture.path], picture.page)
        for claim in claims
        for picture in claim.pictures
    }
    base = root.parent if root.is_file() else root
    told = [
        (c.claim_id, c.problem, c.further, [(p.name(base), ids[p]) for p in c.pictures])
        for c in claims
    ]
    return ids, fingerprint(told)


def _from_folders(root: Path) -> list[Claim]:
    claims = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        below = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SCANS)
        inside = [picture for path in below if (picture := _inside(root, path))]
        questioned = [p for p in inside if p.path.stem.lower().startswith("questioned")]
        references = [p for p in inside if p.path.stem.lower().startswith("reference")]
        claims.append(_checked(folder.name, questioned, references, {}))
    return claims


def _from_manifest(manifest: Path, root: Path) -> list[Claim]:
    table = _read_table(manifest)
    missing = [name for name in _REQUIRED if name not in table.columns]
    if missing:
        raise ClaimsError(
            f"{manifest} lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    # A column named like one of ours is kept, under a name that cannot pass for ours.
    table = table.rename(
        columns={name: f"manifest_{name}" for name in set(RESERVED) - set(_REQUIRED)}
    )
    further = [name for name in table.columns if name not in _REQUIRED]
    table["claim_id"] = table["claim_id"].str.strip()
    claims = []
    for claim_id, rows in table.groupby("claim_id", sort=True):
        name = str(claim_id)
        extra = {column: str(rows.iloc[0][column]) for column in further}
        asked = [_inside(root, text) for text in rows["questioned"].unique() if text]
        references = [p for text in rows["reference"] if text for p in _expand(root, text)]
        if not name:
            detail = "The claim_id is empty."
            claims.append(Claim("(no id)", None, (), "claim_without_id", detail, extra))
        elif None in asked or None in references:
            detail = "A path is not valid or leaves the claims folder."
            claims.append(Claim(name, None, (), "path_outside", detail, extra))
        else:
            there = [path for path in references if path]
            claims.append(_checked(name, [path for path in asked if path], there, extra))
    return claims


def _read_table(manifest: Path) -> pd.DataFrame:
    """All cells as text, empty ones as empty text."""
    reader = _READERS.get(manifest.suffix.lower())
    if reader is None:
        raise ClaimsError(f"{manifest} is not one of {', '.join(_READERS)}.")
    try:
        table = reader(manifest).astype(object).fillna("").astype(str)
    except ImportError as error:
        raise ClaimsError(f"Reading {manifest.name} needs: pip install openpyxl") from error
    # A damaged workbook or Parquet file raises nearly anything in its reader.
    except Exception as error:
        raise ClaimsError(f"{manifest} could not be read: {error}") from error
    table.columns = table.columns.map(str)
    return table


def _checked(
    claim_id: str, questioned: list[Picture], references: list[Picture], further: dict[str, str]
) -> Claim:
    references = list(dict.fromkeys(references))
    if len(questioned) != 1:
        problem = "no_questioned" if not questioned else "several_questioned"
        detail = f"{len(questioned)} questioned signatures were given; a claim has exactly one."
        return Claim(claim_id, None, (), problem, detail, further)
    absent = [path for path in (questioned[0], *references) if not _is_file(path.path)]
    if questioned[0] in absent:
        detail = f"The questioned picture {questioned[0].path.name} is not there."
        return Claim(claim_id, None, (), "questioned_missing", detail, further)
    there = tuple(path for path in references if path not in absent)
    if not there:
        detail = (
            f"The reference {absent[0].path.name} is not there."
            if absent
            else "No reference signature was given."
        )
        return Claim(claim_id, questioned[0], (), "reference_missing", detail, further)
    gone = len(references) - len(there)
    notice = f"{gone} of {len(references)} references are not there." if gone else ""
    return Claim(claim_id, questioned[0], there, "", notice, further)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the disk
        return False


def _inside(root: Path, name: str | Path) -> Picture | None:
    """The picture, with links followed, when its path can be one and stays within the folder."""
    text, page = parse_page(str(name))
    try:
        path = (root / text).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, a loop of links
        return None
    return Picture(path, page) if path.is_relative_to(root.resolve()) else None


def _expand(root: Path, name: str) -> list[Picture | None]:
    """The picture itself or, of a folder, those in it; None for what leaves the root."""
    picture = _inside(root, name)
    if picture is None or not picture.path.is_dir():
        return [picture]
    within = sorted(path for path in picture.path.iterdir() if path.suffix.lower() in SCANS)
    return [_inside(root, path) for path in within]
