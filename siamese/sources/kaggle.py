"""The Kaggle dataset ``robinreni/signature-verification-dataset``.

It is the Dutch offline part of ICDAR SigComp 2011. Its ``test/`` repeats part of ``train/``
byte for byte, and in its CSV files the label follows from the second path alone; both are
listed here so that the audit can say so, and neither is used.
"""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from pathlib import Path

from siamese.config import SourceSettings
from siamese.files import fingerprint, sha256_of_file, write_json
from siamese.sources.listing import (
    ImageKind,
    Listed,
    Listing,
    Protocol,
    PublishedPairs,
    SourceError,
    SourceUnreachable,
    pictures_below,
    require,
)

HANDLE = "robinreni/signature-verification-dataset"
_FOLDER = re.compile(r"^(\d{3})(_forg)?$")


def fetch(settings: SourceSettings, cache: Path, seed: int) -> Path:  # noqa: ARG001
    """The local copy at ``settings.path``, or a download by kagglehub into ``cache``.

    The download resumes where it stopped; what came is recorded with a checksum in
    ``download.json``.

    Raises
    ------
    SourceError : no network, no access, or kagglehub is not installed.
    """
    if settings.path is not None:
        if not settings.path.is_dir():
            raise SourceError(f"The kaggle source's folder {settings.path} does not exist.")
        return settings.path
    folder = _download(cache / "kaggle")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    write_json(
        cache / "kaggle" / "download.json",
        {
            "dataset": HANDLE,
            "folder": str(folder),
            "files": len(files),
            "checksum": fingerprint(
                [(str(path.relative_to(folder)), sha256_of_file(path)) for path in files]
            ),
            "downloaded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    return folder


def _download(cache: Path) -> Path:
    try:
        import kagglehub
        import requests
        from kagglehub.config import CACHE_FOLDER_ENV_VAR_NAME
        from kagglehub.exceptions import (
            DataCorruptionError,
            KaggleApiHTTPError,
            UnauthenticatedError,
        )
    except ImportError as error:
        raise SourceError(
            "Downloading from Kaggle needs: pip install kagglehub, "
            "or give a local copy with --path."
        ) from error
    import os

    # kagglehub resumes only inside its own cache, whose place it takes from the environment.
    os.environ[CACHE_FOLDER_ENV_VAR_NAME] = str(cache)
    own_copy = "or give a local copy with --path"
    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except (UnauthenticatedError, KaggleApiHTTPError, ValueError) as error:  # a bad kaggle.json
        raise SourceError(
            f"Kaggle refused access to {HANDLE}: {' '.join(str(error).split())} "
            f"Set KAGGLE_USERNAME and KAGGLE_KEY, {own_copy}."
        ) from error
    except DataCorruptionError as error:
        raise SourceError(f"The download of {HANDLE} was damaged; run it again. {error}") from error
    except requests.exceptions.RequestException as error:
        raise SourceUnreachable(
            f"Kaggle could not be reached to download {HANDLE} ({type(error).__name__}). "
            f"Check the network and run it again, it resumes; {own_copy}."
        ) from error


def read(root: Path) -> Listing:
    """List ``train/NNN``, ``train/NNN_forg``, the same of ``test/``, and the CSV files."""
    if (root / "sign_data").is_dir():
        root = root / "sign_data"
    images, unread = [], []
    for part in ("train", "test"):
        for path in pictures_below(root / part):
            relative = str(path.relative_to(root))
            folder = _FOLDER.match(path.parent.name)
            if folder is None:
                unread.append((relative, "the folder is not NNN or NNN_forg"))
                continue
            kind: ImageKind = "skilled_forgery" if folder[2] else "genuine"
            images.append(Listed(relative, folder[1], kind, part))
    return require(
        Listing(
            root,
            tuple(images),
            published_pairs=tuple(
                _read_pairs(path, root)
                for path in (root / "train_data.csv", root / "test_data.csv")
                if path.is_file()
            ),
            protocol=Protocol(train="001-040", calibration="041-048", test="049-069"),
            unread=tuple(unread),
        ),
        "train/NNN and train/NNN_forg",
    )


def _read_pairs(path: Path, root: Path) -> PublishedPairs:
    with path.open(newline="", encoding="utf-8", errors="replace") as handle:
        rows = [
            (row[0], row[1], int(row[2]))
            for row in csv.reader(handle)
            if len(row) == 3 and row[2].strip() in ("0", "1")
        ]
    return PublishedPairs(str(path.relative_to(root)), tuple(rows))
