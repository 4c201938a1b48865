"""A folder of claims: each a questioned signature and the references to hold it against.

By manifest, ``claims.csv`` with the columns ``claim_id, questioned, reference``: one row a
claim, or many with a reference each; a reference may also be a folder; further columns are
carried through. By convention, one folder a claim: ``<claim_id>/questioned*`` beside
``reference*``. Nothing outside the claims folder is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from siamese.errors import InputError
from siamese.files import fingerprint, sha256_of_file
from siamese.sources.listing import PICTURES, pictures_below
from siamese.tables import CLAIM_DECISIONS

_REQUIRED = ("claim_id", "questioned", "reference")
#: Names of the decisions table, which a manifest's own columns may not take.
RESERVED = tuple(CLAIM_DECISIONS.schema.names)


class ClaimsError(InputError):
    """A claims folder that cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True)
class Claim:
    """One claim. ``problem`` says why it cannot be scored, and is empty when it can.

    ``detail`` is a sentence on the problem, or on what is missing from a claim that can.
    """

    claim_id: str
    questioned: Path | None
    references: tuple[Path, ...]
    problem: str = ""
    detail: str = ""
    further: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*((self.questioned,) if self.questioned else ()), *self.references)


def read_claims(root: Path) -> list[Claim]:
    """Claims of a folder (or of a ``.csv`` in it), sorted by id; each bad one says why.

    Raises
    ------
    ClaimsError : there is no such folder, no claim in it, or its manifest cannot be read.
    """
    if not root.exists():
        raise ClaimsError(f"The claims folder {root} does not exist.")
    manifest = root if root.is_file() else root / "claims.csv"
    folder = manifest.parent if root.is_file() else root
    claims = _from_manifest(manifest, folder) if manifest.is_file() else _from_folders(folder)
    if not claims:
        raise ClaimsError(
            f"There are no claims in {root}: expected claims.csv with the columns "
            "claim_id, questioned, reference, or folders <claim_id>/ with a questioned* "
            "and at least one reference* picture."
        )
    return sorted(claims, key=lambda claim: claim.claim_id)


def hash_claims(claims: list[Claim], root: Path) -> tuple[dict[Path, str], str]:
    """sha256 of every readable file, and the fingerprint of the whole folder as it is read."""
    hashes: dict[Path, str] = {}
    for path in dict.fromkeys(path for claim in claims for path in claim.files):
        try:
            hashes[path] = sha256_of_file(path)
        except OSError as error:
            # The name of the failure stands in for the content; preparing it says the rest.
            hashes[path] = fingerprint("unreadable", str(path), error.strerror).ljust(64, "0")
    told = [
        (c.claim_id, c.problem, c.further, [(_relative(p, root), hashes[p]) for p in c.files])
        for c in claims
    ]
    return hashes, fingerprint(told)


def _relative(path: Path, root: Path) -> str:
    base = (root.parent if root.is_file() else root).resolve()
    return str(path.relative_to(base))


def _from_folders(root: Path) -> list[Claim]:
    claims = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        inside = [path for p in pictures_below(folder) if (path := _inside(root, p.resolve()))]
        questioned = [p for p in inside if p.stem.lower().startswith("questioned")]
        references = [p for p in inside if p.stem.lower().startswith("reference")]
        claims.append(_checked(folder.name, questioned, references, {}))
    return claims


def _from_manifest(manifest: Path, root: Path) -> list[Claim]:
    try:
        table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise ClaimsError(f"{manifest} could not be read as CSV: {error}") from error
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
    claims = []
    for claim_id, rows in table.groupby("claim_id", sort=True):
        name = str(claim_id).strip()
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


def _checked(
    claim_id: str, questioned: list[Path], references: list[Path], further: dict[str, str]
) -> Claim:
    references = list(dict.fromkeys(references))
    if len(questioned) != 1:
        problem = "no_questioned" if not questioned else "several_questioned"
        detail = f"{len(questioned)} questioned signatures were given; a claim has exactly one."
        return Claim(claim_id, None, (), problem, detail, further)
    absent = [path for path in (questioned[0], *references) if not _is_file(path)]
    if questioned[0] in absent:
        detail = f"The questioned picture {questioned[0].name} is not there."
        return Claim(claim_id, None, (), "questioned_missing", detail, further)
    there = tuple(path for path in references if path not in absent)
    if not there:
        detail = (
            f"The reference {absent[0].name} is not there."
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


def _inside(root: Path, name: str | Path) -> Path | None:
    """The path, with links followed, when it can be one and stays within the folder."""
    try:
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, a loop of links
        return None
    return path if path.is_relative_to(root.resolve()) else None


def _expand(root: Path, name: str) -> list[Path | None]:
    """The file itself or, of a folder, the pictures in it; None for what leaves the root."""
    path = _inside(root, name)
    if path is None or not path.is_dir():
        return [path]
    pictures = [p for p in sorted(path.iterdir()) if p.suffix.lower() in PICTURES]
    return [_inside(root, picture) for picture in pictures]
