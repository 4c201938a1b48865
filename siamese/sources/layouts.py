"""Readers of the published layouts BHSig260 and CEDAR."""

from __future__ import annotations

import re
from pathlib import Path

from siamese.config import SourceSettings
from siamese.sources.listing import (
    ImageKind,
    Listed,
    Listing,
    Protocol,
    SourceError,
    pictures_below,
    require,
)

_BHSIG = re.compile(r"^[HB]-S-(\d+)-([GF])-(\d+)$", re.IGNORECASE)
_CEDAR = re.compile(r"^(original|forgeries)_(\d+)_(\d+)$", re.IGNORECASE)


def local_folder(settings: SourceSettings, cache: Path, seed: int) -> Path:  # noqa: ARG001
    """The path as given, when it is there."""
    path = settings.path
    if path is None or not path.exists():
        raise SourceError(f"The {settings.kind} source's path {path} does not exist.")
    return path


def read_bhsig260(root: Path) -> Listing:
    """``NNN/H-S-<writer>-<G|F>-<sample>.tif`` (Hindi) or ``B-S-…`` (Bengali).

    The published protocol tests on 60 of Hindi's 160 writers; with the first hundred at hand,
    writers 81-100 are kept for the figures and 73-80 for calibration.
    """
    images, unread = [], []
    for path in pictures_below(root):
        name = _BHSIG.match(path.stem)
        if name is None:
            unread.append((str(path.relative_to(root)), "the name is not H-S-<writer>-<G|F>-<n>"))
            continue
        kind: ImageKind = "genuine" if name[2].upper() == "G" else "skilled_forgery"
        images.append(Listed(str(path.relative_to(root)), f"{int(name[1]):03d}", kind))
    protocol = Protocol(train="001-072", calibration="073-080", test="081-100")
    return require(
        Listing(root, tuple(images), protocol=protocol, unread=tuple(unread)),
        "files like 001/H-S-1-G-01.tif",
    )


def read_cedar(root: Path) -> Listing:
    """``full_org/original_<writer>_<n>.png`` and ``full_forg/forgeries_<writer>_<n>.png``."""
    images, unread = [], []
    for path in pictures_below(root):
        name = _CEDAR.match(path.stem)
        if name is None:
            unread.append((str(path.relative_to(root)), "the name is not original_<writer>_<n>"))
            continue
        kind: ImageKind = "genuine" if name[1].lower() == "original" else "skilled_forgery"
        images.append(Listed(str(path.relative_to(root)), f"{int(name[2]):03d}", kind))
    return require(
        Listing(root, tuple(images), unread=tuple(unread)),
        "full_org/original_<writer>_<n>.png and full_forg/forgeries_<writer>_<n>.png",
    )
