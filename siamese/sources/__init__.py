"""Where signatures come from, behind one small interface.

A source is two functions: ``fetch`` makes sure that the files are on disk and returns their
folder, ``read`` lists what is there. A new source is one module with these two functions and
one line in :data:`SOURCES`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from siamese.config import SourceSettings
from siamese.files import write_text
from siamese.sources import kaggle, layouts, manifest, synthetic
from siamese.sources.listing import Listing, SourceError, SourceUnreachable

__all__ = [
    "SOURCES",
    "Source",
    "SourceError",
    "SourceUnreachable",
    "fetch_and_read",
    "forgotten",
    "mark_forgotten",
]

_FORGOTTEN = "forgotten"  # in the cache folder


@dataclass(frozen=True)
class Source:
    """``fetch(settings, cache folder, seed)`` → root (folder or manifest); ``read(root)``."""

    fetch: Callable[[SourceSettings, Path, int], Path]
    read: Callable[[Path], Listing]


SOURCES: dict[str, Source] = {
    "synthetic": Source(synthetic.fetch, manifest.read),
    "kaggle": Source(kaggle.fetch, kaggle.read),
    "bhsig260": Source(layouts.local_folder, layouts.read_bhsig260),
    "cedar": Source(layouts.local_folder, layouts.read_cedar),
    "manifest": Source(layouts.local_folder, manifest.read),
}


def fetch_and_read(settings: SourceSettings, cache: Path, seed: int) -> Listing:
    """Get one source's files onto disk if need be, and list them.

    Raises
    ------
    SourceError : with a sentence that says what is missing and what to do.
    """
    source = SOURCES[settings.kind]
    return source.read(source.fetch(settings, cache, seed))


def forgotten(cache: Path) -> str:
    """Changes whenever pictures of somebody were removed from the sets kept there."""
    path = cache / _FORGOTTEN
    return path.read_text() if path.is_file() else ""


def mark_forgotten(cache: Path) -> None:
    """Have :func:`forgotten` change."""
    write_text(cache / _FORGOTTEN, uuid.uuid4().hex)
