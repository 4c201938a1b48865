"""The contracts of the tables: columns, types, allowed values, and what travels with a file.

Types are explicit Arrow schemas, values are checked with Pandera at both edges of a stage,
and each file carries the fingerprint, config and code version that made it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq

from siamese.errors import InputError
from siamese.files import replace_file
from siamese.imaging import QUALITIES
from siamese.parquet import in_parts, open_parquet, parquet_writer
from siamese.sources.listing import ImageKind

IMAGE_KINDS = get_args(ImageKind)
PAIR_KINDS = ("genuine", "skilled_forgery", "random_forgery")
SPLITS = ("train", "calibration", "test")
DECISIONS = ("accept", "review", "reject", "unusable")

_PROVENANCE = b"siamese"
_CATEGORY = pa.dictionary(pa.int32(), pa.string())


class TableError(InputError):
    """A table that breaks its contract; the message names the table, column and values."""


@dataclass(frozen=True)
class Table:
    """One contract: a name, the Arrow schema, the checks on values."""

    name: str
    schema: pa.Schema
    checks: pandera.DataFrameSchema

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame itself, when it keeps the contract.

        Raises
        ------
        TableError : otherwise.
        """
        missing = set(self.schema.names) - set(frame.columns)
        if missing:
            raise TableError(f"{self.name}: column(s) {', '.join(sorted(missing))} missing.")
        return self._checked(frame, self.checks)

    def _checked(self, frame: pd.DataFrame, checks: pandera.DataFrameSchema) -> pd.DataFrame:
        try:
            checks.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            first = error.failure_cases.iloc[0]
            raise TableError(
                f"{self.name}: column {first['column']} fails {first['check']} "
                f"with {first['failure_case']!r} ({len(error.failure_cases)} failure(s) in all)."
            ) from error
        return frame

    def write(self, frame: pd.DataFrame, path: Path, provenance: Mapping[str, Any]) -> None:
        """Check and write to Parquet, whole or not at all, with its provenance inside.

        Columns that the contract does not name are carried through as text; those of the first
        part, where it comes in parts.
        """
        self.write_all([frame], path, provenance)

    def write_all(
        self, frames: Iterable[pd.DataFrame], path: Path, provenance: Mapping[str, Any]
    ) -> None:
        """The same of a table that comes in parts, each a row group; there is at least one."""
        metadata = {_PROVENANCE: json.dumps(dict(provenance), default=str)}
        parts = iter(frames)
        first = next(parts)
        further = [name for name in first.columns if name not in self.schema.names]
        schema = pa.schema(
            [*self.schema, *((name, pa.string()) for name in further)], metadata=metadata
        )
        with (
            replace_file(path) as handle,
            parquet_writer(handle, schema) as writer,
        ):
            for frame in itertools.chain([first], parts):
                columns = self.check(frame)[schema.names]
                writer.write_table(
                    pa.Table.from_pandas(columns, schema=schema, preserve_index=False)
                )

    def read_whole(self, path: Path) -> pd.DataFrame | None:
        """The same as :meth:`read`; None where there is no such table, or it is damaged."""
        try:
            return self.read(path)
        except (OSError, pa.ArrowException, TableError):
            return None

    def read(self, path: Path) -> pd.DataFrame:
        """Read and check; category columns come back as plain strings."""
        return self.check(_plain(self._open(path).read()))

    def parts(self, path: Path, most: int) -> Iterator[pd.DataFrame]:
        """The same, so many rows at a time."""
        for part in in_parts(self._open(path), most):
            yield self.check(_plain(part))

    def columns(self, path: Path, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of all rows, checked; those that the file lacks are left out."""
        file = self._open(path)
        there = [name for name in names if name in file.schema_arrow.names]
        checked = [name for name in there if name in self.checks.columns]
        return self._checked(_plain(file.read(there)), self.checks.select_columns(checked))

    def _open(self, path: Path) -> pq.ParquetFile:
        file = open_parquet(path)
        names = file.schema_arrow.names
        if not set(self.schema.names) <= set(names):
            raise TableError(f"{path} is not a {self.name} table: it has {names}.")
        return file


def _plain(table: pa.Table) -> pd.DataFrame:
    """In pandas, with category columns as plain strings."""
    frame = table.to_pandas()
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].astype("str")
    return frame


def provenance_of(path: Path) -> dict[str, Any]:
    """Fingerprint, config and code version that a table was made with."""
    metadata = pq.read_schema(path).metadata or {}
    found: dict[str, Any] = json.loads(metadata.get(_PROVENANCE, b"{}"))
    return found


def _checks(**columns: pandera.Column) -> pandera.DataFrameSchema:
    return pandera.DataFrameSchema(columns, strict=False)


def _column(*checks: pandera.Check, unique: bool = False, nullable: bool = False) -> pandera.Column:
    return pandera.Column(None, checks=list(checks), unique=unique, nullable=nullable)


_FILES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("writer", pa.string()),
        ("kind", _CATEGORY),
        ("source", _CATEGORY),
        ("part", _CATEGORY),
    ]
)
#: What ingest lists: one row a file, copies included. ``path`` is absolute.
FILES = Table(
    "files",
    _FILES_SCHEMA,
    _checks(
        image_id=_column(pandera.Check.str_matches(r"^[0-9a-f]{64}$")),
        writer=_column(pandera.Check.str_length(min_value=1)),
        kind=_column(pandera.Check.isin(IMAGE_KINDS)),
    ),
)

#: One row a distinct picture. ``quality`` and ``perceptual_hash`` come from its canvas.
IMAGES = Table(
    "images",
    pa.schema(
        [
            ("image_id", pa.string()),
            ("path", pa.string()),
            ("writer", pa.string()),
            ("kind", _CATEGORY),
            ("source", _CATEGORY),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("ink_fraction", pa.float64()),
            ("quality", _CATEGORY),
            ("quality_detail", pa.string()),
            ("perceptual_hash", pa.string()),
        ]
    ),
    _checks(
        image_id=_column(pandera.Check.str_matches(r"^[0-9a-f]{64}$"), unique=True),
        writer=_column(pandera.Check.str_length(min_value=1)),
        kind=_column(pandera.Check.isin(IMAGE_KINDS)),
        ink_fraction=_column(pandera.Check.in_range(0, 1)),
        quality=_column(pandera.Check.isin(QUALITIES)),
    ),
)

#: One row a writer.
WRITER_SPLITS = Table(
    "splits",
    pa.schema([("writer", pa.string()), ("split", _CATEGORY), ("fold", pa.int32())]),
    _checks(
        writer=_column(unique=True),
        split=_column(pandera.Check.isin(SPLITS)),
        fold=_column(pandera.Check.ge(0)),
    ),
)

_PAIR_FIELDS = [
    ("pair_id", pa.string()),
    ("reference_id", pa.string()),
    ("questioned_id", pa.string()),
    ("writer", pa.string()),
    ("questioned_writer", pa.string()),
    ("kind", _CATEGORY),
    ("label", pa.int8()),
]
_PAIR_CHECKS = {
    "pair_id": _column(unique=True),
    "kind": _column(pandera.Check.isin(PAIR_KINDS)),
    "label": _column(pandera.Check.isin([0, 1])),
}
#: One row a pair; ``label`` is 1 for same writer and genuine, 0 for a forgery.
PAIRS = Table("pairs", pa.schema(_PAIR_FIELDS), _checks(**_PAIR_CHECKS))

#: One row a pair, scored. ``similarity`` is ``1 − distance / 2``.
SCORES = Table(
    "scores",
    pa.schema(
        [
            *_PAIR_FIELDS,
            ("distance", pa.float64()),
            ("similarity", pa.float64()),
            ("log10_lr", pa.float64()),
            ("p_genuine", pa.float64()),
            ("decision", _CATEGORY),
        ]
    ),
    _checks(
        **_PAIR_CHECKS,
        distance=_column(pandera.Check.in_range(0, 2.0001)),
        p_genuine=_column(pandera.Check.in_range(0, 1)),
        decision=_column(pandera.Check.isin(DECISIONS)),
    ),
)

#: One row a claim; measures are null when the claim is unusable.
CLAIM_DECISIONS = Table(
    "decisions",
    pa.schema(
        [
            ("claim_id", pa.string()),
            ("decision", _CATEGORY),
            ("reason", _CATEGORY),
            ("reason_detail", pa.string()),
            ("distance", pa.float64()),
            ("p_genuine", pa.float64()),
            ("log10_lr", pa.float64()),
            ("n_references", pa.int32()),
            ("closest_reference", pa.string()),
            ("questioned", pa.string()),
            ("questioned_quality", _CATEGORY),
            ("reference_quality", _CATEGORY),
            ("questioned_id", pa.string()),
            ("closest_reference_id", pa.string()),
            ("model_version", _CATEGORY),
            ("threshold_policy", _CATEGORY),
            ("scored_at", pa.timestamp("s", "UTC")),
        ]
    ),
    _checks(
        claim_id=_column(unique=True),
        decision=_column(pandera.Check.isin(DECISIONS)),
        distance=_column(pandera.Check.in_range(0, 2.0001), nullable=True),
        p_genuine=_column(pandera.Check.in_range(0, 1), nullable=True),
        n_references=_column(pandera.Check.ge(0)),
    ),
)
