"""Your own data: a manifest with the columns path, writer, kind."""

from __future__ import annotations

from pathlib import Path

from siamese.manifests import ManifestError, find_manifest, read_manifest
from siamese.sources.listing import ImageKind, Listed, Listing, SourceError, require
from siamese.spreadsheets import unguarded

_KINDS: dict[str, ImageKind] = {
    "genuine": "genuine",
    "skilled_forgery": "skilled_forgery",
    "forgery": "skilled_forgery",
}


def read(path: Path) -> Listing:
    """Read a manifest, or ``manifest.csv``, ``.parquet`` or ``.xlsx`` in a folder.

    Paths are relative to the manifest and may not leave its folder. Rows that cannot be used
    are listed in ``unread`` with the reason.
    """
    try:
        file = find_manifest(path, "manifest")
        if file is None:
            raise SourceError(f"There is no manifest.csv, .parquet or .xlsx in {path}.")
        table = read_manifest(file, required=("path", "writer", "kind"))
    except ManifestError as error:
        raise SourceError(str(error)) from error
    images, unread = [], []
    root = file.parent.resolve()
    for row in table[["path", "writer", "kind"]].itertuples(index=False):
        # Feedback is kept in a table for people.
        name, writer, kind = (unguarded(value).strip() for value in row)
        try:
            target = (root / name).resolve()
            there = target.is_file()
        except (OSError, ValueError) as error:  # too long a name, a NUL in it
            unread.append((name, f"the path cannot be one: {error}"))
            continue
        if kind not in _KINDS:
            unread.append((name, f"kind is {kind!r}, not genuine or skilled_forgery"))
        elif not writer:
            unread.append((name, "the writer is empty"))
        elif not target.is_relative_to(root):
            unread.append((name, "the path leaves the manifest's folder"))
        elif not there:
            unread.append((name, "there is no such file"))
        else:
            images.append(Listed(name, writer, _KINDS[kind]))
    return require(
        Listing(file.parent, tuple(images), unread=tuple(unread)), "rows with path, writer, kind"
    )
