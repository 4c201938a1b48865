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

from siamese.files import fingerprint, sha256_of_file
from siamese.sources.listing import PICTURES, pictures_below

_REQUIRED = ("claim_id", "questioned", "reference")


class ClaimsError(ValueError):
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
        pictures = pictures_below(folder)
        base = root.resolve()
        inside = [path for path in pictures if path.resolve().is_relative_to(base)]
        questioned = [p.resolve() for p in inside if p.stem.lower().startswith("questioned")]
        references = [p.resolve() for p in inside if p.stem.lower().startswith("reference")]
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
    further = [name for name in table.columns if name not in _REQUIRED]
    claims = []
    for claim_id, rows in table.groupby("claim_id", sort=True):
        first = rows.iloc[0]
        extra = {name: str(first[name]) for name in further}
        questioned_names = [name for name in rows["questioned"].unique() if name]
        names = [name for name in rows["reference"] if name]
        outside = [n for n in (*questioned_names, *names) if _inside(root, n) is None]
        if not str(claim_id).strip():
            claims.append(
                Claim("(no id)", None, (), "claim_without_id", "The claim_id is empty.", extra)
            )
        elif outside:
            detail = f"The path {outside[0]!r} leaves the claims folder."
            claims.append(Claim(str(claim_id), None, (), "path_outside", detail, extra))
        else:
            references = [path for name in names for path in _expand(root, name)]
            questioned = [path for name in questioned_names if (path := _inside(root, name))]
            claims.append(_checked(str(claim_id), questioned, references, extra))
    return claims


def _checked(
    claim_id: str, questioned: list[Path], references: list[Path], further: dict[str, str]
) -> Claim:
    references = list(dict.fromkeys(references))
    if len(questioned) != 1:
        problem = "no_questioned" if not questioned else "several_questioned"
        detail = f"{len(questioned)} questioned signatures were given; a claim has exactly one."
        return Claim(claim_id, None, (), problem, detail, further)
    absent = [path for path in (questioned[0], *references) if not path.is_file()]
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


def _inside(root: Path, name: str) -> Path | None:
    path = (root / name).resolve()
    return path if path.is_relative_to(root.resolve()) else None


def _expand(root: Path, name: str) -> list[Path]:
    path = _inside(root, name)
    if path is None:
        return []
    if path.is_dir():
        return [p.resolve() for p in sorted(path.iterdir()) if p.suffix.lower() in PICTURES]
    return [path]
