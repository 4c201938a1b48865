"""Readers of the published layouts BHSig260 and CEDAR."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    images, unread = _placed(
        root,
        _BHSIG,
        lambda name: (name[1], name[2].upper() == "G"),
        "the name is not H-S-<writer>-<G|F>-<n>",
    )
    scripts = {Path(image.path).name[0].upper() for image in images}
    if len(scripts) > 1:  # whose writers have the same numbers
        raise SourceError(f"{root} holds Hindi and Bengali; name the folder of one of them.")
    protocol = Protocol(train="001-072", calibration="073-080", test="081-100")
    return require(
        Listing(root, images, protocol=protocol, unread=unread),
        "files like 001/H-S-1-G-01.tif",
    )


def read_cedar(root: Path) -> Listing:
    """``full_org/original_<writer>_<n>.png`` and ``full_forg/forgeries_<writer>_<n>.png``."""
    images, unread = _placed(
        root,
        _CEDAR,
        lambda name: (name[2], name[1].lower() == "original"),
        "the name is not original_<writer>_<n>",
    )
    return require(
        Listing(root, images, unread=unread),
        "full_org/original_<writer>_<n>.png and full_forg/forgeries_<writer>_<n>.png",
    )


def _placed(
    root: Path,
    pattern: re.Pattern[str],
    read_name: Callable[[re.Match[str]], tuple[str, bool]],
    otherwise: str,
) -> tuple[tuple[Listed, ...], tuple[tuple[str, str], ...]]:
    """Pictures whose names fit a pattern, and those whose do not, with why.

    ``read_name`` gives the writer's number and whether the signature is genuine.
    """
    images, unread = [], []
    for path in pictures_below(root):
        relative = str(path.relative_to(root))
        name = pattern.match(path.stem)
        if name is None:
            unread.append((relative, otherwise))
            continue
        number, genuine = read_name(name)
        kind: ImageKind = "genuine" if genuine else "skilled_forgery"
        images.append(Listed(relative, f"{int(number):03d}", kind))
    return tuple(images), tuple(unread)
