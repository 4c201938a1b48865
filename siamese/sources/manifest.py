"""Your own data: a CSV or Parquet table with the columns path, writer, kind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from siamese.sources.listing import ImageKind, Listed, Listing, SourceError, require

_KINDS: dict[str, ImageKind] = {
    "genuine": "genuine",
    "skilled_forgery": "skilled_forgery",
    "forgery": "skilled_forgery",
}


def read(path: Path) -> Listing:
    """Read a manifest, or ``manifest.csv`` / ``manifest.parquet`` in a folder.

    Paths are relative to the manifest and may not leave its folder. Rows that cannot be used
    are listed in ``unread`` with the reason.
    """
    file = _manifest_file(path)
    table = _read_table(file)
    missing = {"path", "writer", "kind"} - set(table.columns)
    if missing:
        raise SourceError(f"{file} lacks the column(s) {', '.join(sorted(missing))}.")
    images, unread = [], []
    root = file.parent.resolve()
    for row in table[["path", "writer", "kind"]].itertuples(index=False):
        name, writer, kind = (str(value).strip() for value in row)
        target = (root / name).resolve()
        if kind not in _KINDS:
            unread.append((name, f"kind is {kind!r}, not genuine or skilled_forgery"))
        elif not writer or pd.isna(row.writer):
            unread.append((name, "the writer is empty"))
        elif not target.is_relative_to(root):
            unread.append((name, "the path leaves the manifest's folder"))
        elif not target.is_file():
            unread.append((name, "there is no such file"))
        else:
            images.append(Listed(name, writer, _KINDS[kind]))
    return require(
        Listing(file.parent, tuple(images), unread=tuple(unread)), "rows with path, writer, kind"
    )


def _manifest_file(path: Path) -> Path:
    if path.is_file():
        return path
    for name in ("manifest.csv", "manifest.parquet"):
        if (path / name).is_file():
            return path / name
    raise SourceError(f"There is no manifest.csv or manifest.parquet in {path}.")


def _read_table(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file).astype({"path": str, "writer": str, "kind": str})
        return pd.read_csv(file, dtype=str)
    except (ValueError, KeyError, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"The manifest {file} could not be read: {error}") from error
