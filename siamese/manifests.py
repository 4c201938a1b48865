"""Manifests: tables that people make, read some rows at a time and kept on disk as text.

So that one of ten million rows takes no more memory than one of a thousand.
"""

from __future__ import annotations

import csv
import errno
import importlib
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from siamese.errors import InputError

_AT_ONCE = 65_536  # rows
_WORKBOOK_BYTES = 2 * 1024**3  # unpacked; a million rows of Excel's take a tenth
_WORKBOOK_COLUMNS = 256  # each row is in memory up to its last cell


_PATHS = {"questioned", "reference", "path"}
_OF_ONE_LINE = _PATHS | {"claim_id", "writer_id", "writer", "kind", "label", "verdict"}  # columns


class ManifestError(InputError):
    """A manifest that cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """Rows of text, all columns of them; the operating system reads them when they are used.

    batches : of a file that is mapped into memory, and gone when this object is.
    """

    columns: tuple[str, ...]
    batches: Sequence[pa.RecordBatch]

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def column(self, name: str) -> pa.ChunkedArray:
        """(N,) cells."""
        return pa.chunked_array([batch.column(name) for batch in self.batches], pa.string())

    def take(self, rows: npt.NDArray[np.int64]) -> dict[str, list[str]]:
        """The cells of some rows, in the order given, by column."""
        ends = np.cumsum([len(batch) for batch in self.batches])
        order = np.argsort(rows, kind="stable")
        inside = np.searchsorted(ends, rows[order], "right")
        parts = [
            self.batches[which].take(
                pa.array(rows[order][inside == which] - ends[which] + len(self.batches[which]))
            )
            for which in np.unique(inside)
        ]
        if not parts:
            return {name: [] for name in self.columns}
        table = pa.Table.from_batches(parts).take(pa.array(np.argsort(order, kind="stable")))
        return {name: table[name].to_pylist() for name in self.columns}

    def to_pandas(self) -> pd.DataFrame:
        """All rows in memory, for manifests of some thousands."""
        return pd.DataFrame(
            {name: self.column(name).to_pylist() for name in self.columns}, dtype=str
        )


def open_manifest(path: Path, required: Iterable[str] = ()) -> Manifest:
    """All cells as text, empty ones as empty text.

    Parameters
    ----------
    required : columns that it must have.

    Raises
    ------
    ManifestError : it cannot be read, or lacks a column.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"{path} is not one of {', '.join(READERS)}.")
    try:
        columns, batches = _kept(reader(path))
    except ImportError as error:
        raise ManifestError(f"Reading {path.name} needs: pip install openpyxl") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8; save it as CSV UTF-8.") from error
    except _Repeated as error:
        raise ManifestError(f"{path} has two columns {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # of where its rows are kept
            raise
        raise ManifestError(f"{path} could not be read: {error}") from error
    # A damaged workbook or Parquet file raises nearly anything in its reader.
    except Exception as error:
        raise ManifestError(f"{path} could not be read: {error}") from error
    missing = set(required) - set(columns)
    if missing:
        raise ManifestError(f"{path} lacks the column(s) {', '.join(sorted(missing))}.")
    return Manifest(columns, batches)


def read_manifest(path: Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """The same as a table in memory."""
    return open_manifest(path, required).to_pandas()


def find_manifest(root: Path, stem: str) -> Path | None:
    """The manifest of a folder, if it has one; a manifest itself.

    Raises
    ------
    ManifestError : the folder has several.
    """
    if root.is_file():
        return root
    found = [root / f"{stem}{suffix}" for suffix in READERS]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ManifestError(f"{root} has {names}; name the one to be read, as in {found[0]}.")
    return found[0] if found else None


class _Repeated(ValueError):
    """The name of a column that is there twice."""


def _kept(parts: Iterator[pd.DataFrame]) -> tuple[tuple[str, ...], list[pa.RecordBatch]]:
    """Columns and rows of a table, written to a file without a name and mapped from there."""
    first = next(parts, pd.DataFrame())
    names = [str(name) for name in first.columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise _Repeated(name)
    schema = pa.schema([(name, pa.string()) for name in names])
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        with pa.OSFile(file.name, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            part: pd.DataFrame | None = first
            while part is not None:
                text = part.astype(object).fillna("").astype(str)
                cells = [pa.array(text.iloc[:, place], pa.string()) for place in range(len(names))]
                writer.write_batch(pa.RecordBatch.from_arrays(cells, schema=schema))
                part = next(parts, None)
        reader = pa.ipc.open_file(pa.memory_map(file.name))
    return tuple(names), [reader.get_batch(i) for i in range(reader.num_record_batches)]


def _read_csv(path: Path) -> Iterator[pd.DataFrame]:
    """Commas, or semicolons where the first line has those alone; a row too long is an error."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        head = handle.readline()
        handle.seek(0)
        separator = ";" if ";" in head and "," not in head else ","
        _refuse_repeats(next(filter(None, csv.reader(handle, delimiter=separator)), []))
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        for part in pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            sep=separator,
            encoding="utf-8-sig",
            chunksize=_AT_ONCE,
        ):
            for name in part.columns:
                broken = part[name].str.contains(r"[\r\n]")
                if name not in _PATHS:  # a claim may be called so, but hardly with a comma too
                    broken &= part[name].str.contains(separator, regex=False)
                if name in _OF_ONE_LINE and broken.any():
                    raise ValueError(
                        f"a cell of {name} goes over several lines, near row "
                        f"{part.index[broken][0] + 2}; a quotation mark too many hides rows"
                    )
            yield part


def _refuse_repeats(names: Iterable[object]) -> None:
    """What pandas would rename."""
    seen: set[object] = set()
    for name in names:
        if name in seen and name not in (None, ""):
            raise _Repeated(name)
        seen.add(name)


def _read_parquet(path: Path) -> Iterator[pd.DataFrame]:
    file = pq.ParquetFile(path, pre_buffer=False)  # which would hold all that was read
    # Arrow's own types: whole numbers with a gap among them stay whole.
    if file.metadata.num_rows == 0:
        yield file.schema_arrow.empty_table().to_pandas(types_mapper=pd.ArrowDtype)
    for batch in file.iter_batches(batch_size=_AT_ONCE):
        table = batch.to_pandas(types_mapper=pd.ArrowDtype).astype(object)
        for place, kind in enumerate(batch.schema.types):
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                table.isetitem(place, table.iloc[:, place].map(_decoded, na_action="ignore"))
        yield table


def _decoded(cell: bytes) -> str:
    return cell.decode(errors="backslashreplace")


def _read_workbook(path: Path) -> Iterator[pd.DataFrame]:
    with zipfile.ZipFile(path) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    if unpacked > _WORKBOOK_BYTES:
        raise ValueError(f"unpacked it would have {unpacked:,} bytes")
    beyond = _WORKBOOK_COLUMNS + 1
    with closing(importlib.import_module("openpyxl").load_workbook(path, read_only=True)) as book:
        cells = book.worksheets[0].iter_rows(min_col=beyond, values_only=True)
        if any(cell is not None for row in cells for cell in row):
            raise ValueError(f"it has more than {_WORKBOOK_COLUMNS} columns")
        _refuse_repeats(next(book.worksheets[0].iter_rows(max_row=1, values_only=True), ()))
    yield pd.read_excel(path, dtype=str, keep_default_na=False)


READERS: dict[str, Callable[[Path], Iterator[pd.DataFrame]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".xlsx": _read_workbook,
}
