"""What a source lists, in plain records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from siamese.errors import InputError

ImageKind = Literal["genuine", "skilled_forgery"]

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


class SourceError(InputError):
    """A source that cannot be read; the message says why and what to do."""


class SourceUnreachable(SourceError):
    """The outside world did not answer; the same may work later."""


@dataclass(frozen=True)
class Listed:
    """One image file: path relative to the root, the writer it claims to be by, and its kind.

    ``part`` names the published part of the dataset it lies in (``train``, ``test``), if any.
    """

    path: str
    writer: str
    kind: ImageKind
    part: str = ""


@dataclass(frozen=True)
class PublishedPairs:
    """A list of labelled pairs that came with the data: (first path, second path, 1 = forged)."""

    path: str
    rows: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Protocol:
    """The writers of each split that the field agreed on for a dataset, as ranges."""

    train: str
    calibration: str
    test: str


@dataclass(frozen=True)
class Listing:
    """All that a source has. ``unread`` names files or rows that could not be placed, with why."""

    root: Path
    images: tuple[Listed, ...]
    published_pairs: tuple[PublishedPairs, ...] = ()
    protocol: Protocol | None = None
    unread: tuple[tuple[str, str], ...] = ()


def pictures_below(root: Path) -> list[Path]:
    """Picture files below a folder, sorted, hidden ones left out."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()
    )


def require(listing: Listing, expected: str) -> Listing:
    """The listing itself, if it has images.

    Raises
    ------
    SourceError : when there are none.
    """
    if not listing.images:
        unread = "".join(f" {name}: {why}." for name, why in listing.unread[:3])
        raise SourceError(
            f"No signatures were found in {listing.root}; expected {expected}.{unread}"
        )
    return listing
