"""Claims: each a questioned signature and the references to hold it against.

How a folder of them is read: :mod:`siamese.intake`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from siamese.files import fingerprint
from siamese.pictures import Picture, hash_pictures
from siamese.spreadsheets import unguarded

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
        return writer_in(self.further)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (*((self.questioned,) if self.questioned else ()), *self.references)


def writer_in(further: Mapping[str, str]) -> str:
    """The column ``writer_id``; also of a CSV that went through a spreadsheet."""
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


def hash_claims(
    claims: Sequence[Claim], hashed: dict[Path, str] | None = None
) -> dict[Picture, str]:
    """Id of every picture that the claims name, from its content.

    Parameters
    ----------
    hashed : as for :func:`siamese.pictures.hash_pictures`.
    """
    return hash_pictures((one for claim in claims for one in claim.pictures), hashed)


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
