"""A content-addressed store: what was computed for a picture is computed once, ever.

A store is a folder of Parquet parts for one way of computing (one imaging fingerprint, one
model), keyed by ``image_id``, which follows from content. Parts are written whole, each with a
name of its own, so that writers never meet and a killed one leaves nothing behind; many small
ones are merged into one. A part that cannot be read is set aside and its rows computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from siamese.errors import RunError
from siamese.parquet import open_parquet, packed, parquet_bytes, unpacked
from siamese.parts import GROUP, new_name, new_part, rest_of, row_groups
from siamese.places import Place

_BYTES = 16 * 2**20  # of groups that are in memory at a time
_SMALL = 16_384  # rows; smaller parts are merged
_MANY = 64  # small parts
_TRIES = 10

T = TypeVar("T")
Hashes = npt.NDArray[np.uint64]


class ContentStore:
    """Rows by ``image_id``. An object of this class is for one thread.

    Parameters
    ----------
    folder : of this store alone, here or on an object store (see :class:`siamese.places.Place`);
        named after the fingerprint of what computes its rows.
    schema : Arrow schema with the column ``image_id``.
    record : its rows cannot be made again, so that a damaged part is an error.
    """

    def __init__(
        self, folder: Place | Path | str, schema: pa.Schema, *, record: bool = False
    ) -> None:
        self.place = Place.of(folder)
        self.schema = schema
        self.record = record
        # Where each row is: the hash of its id and its row group, by part. A hash takes 8 bytes
        # where an id takes 100; what is read by it is compared by the id itself.
        self._parts: dict[str, tuple[Hashes, npt.NDArray[np.int32]]] = {}

    def get(self, image_ids: Sequence[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows of those ids that are here, indexed by ``image_id``, each once.

        Parameters
        ----------
        columns : the ones to read; none: all.
        """
        frame: pd.DataFrame = self.table(image_ids, columns).to_pandas()
        return frame.set_index("image_id")

    def table(self, image_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The same as an Arrow table with the column ``image_id``, in any order."""
        self.place.mark_used()
        names = self.schema.names if columns is None else ["image_id", *columns]
        wanted = pa.array(list(dict.fromkeys(image_ids)), pa.string())
        found = self._schema_of(names).empty_table()
        if len(wanted):
            found = self._patiently(lambda: self._found(wanted, names))
        return found

    def columns(self, *names: str) -> pd.DataFrame:
        """Some columns of all rows."""
        return self._patiently(lambda: self._all(names)).to_pandas()

    def put(self, rows: pd.DataFrame) -> None:
        """Add rows as one new part."""
        if rows.empty:
            return
        table = pa.Table.from_pandas(rows, schema=self.schema, preserve_index=False)
        self.place.write(new_name(), parquet_bytes(packed(table), GROUP))
        self._merge()

    def remove(self, which: Callable[[pa.Table], pa.ChunkedArray]) -> int:
        """Remove rows, for good; returns how many.

        A part is written again without them before it goes, so that no other row is ever missing.
        On this machine's disk alone, as merging is.

        Parameters
        ----------
        which : rows of a part that are to go, as booleans.
        """
        folder = self.place.local
        if folder is None or not folder.is_dir():
            return 0
        removed = 0
        with FileLock(folder / ".merge.lock"):
            for name in self.place.files(".parquet"):
                made = (folder / name).stat().st_mtime
                count = self._attempt(name, partial(rest_of, which=which, folder=folder, made=made))
                if count:
                    self.place.remove(name)
                    removed += count
        return removed

    def _patiently(self, read: Callable[[], pa.Table]) -> pa.Table:
        for _ in range(_TRIES):
            try:
                self._refresh()
                return read()
            except FileNotFoundError:  # merged with others since it was listed
                continue
        folder = self.place.local
        if folder is None:
            raise RunError(f"The store {self.place.path} changes faster than it can be read.")
        with FileLock(folder / ".merge.lock"):  # slower than those who merge: they wait, once
            self._refresh()
            return read()

    def _found(self, wanted: pa.Array, names: Sequence[str]) -> pa.Table:
        hashes = np.unique(_hashes(wanted))
        tables = [self._schema_of(names).empty_table()]
        for part, (known, groups) in list(self._parts.items()):
            near = np.searchsorted(hashes[:-1], known)  # the last is near to all beyond it
            hits = hashes[near] == known
            if not hits.any():
                continue
            tables.append(self._pick(part, names, groups, hits))
        found = pa.concat_tables(tables)
        mine = pc.is_in(found.column("image_id"), wanted)
        if not pc.all(mine).as_py():  # another id has the same hash
            found = found.filter(mine)
        # Two writers may have made the same row.
        again = found.column("image_id").to_pandas().duplicated().to_numpy()
        return found.filter(pa.array(~again)) if again.any() else found

    def _all(self, names: Sequence[str]) -> pa.Table:
        found = [self._read(part, names) for part in list(self._parts)]
        return pa.concat_tables([self._schema_of(names).empty_table(), *found])

    def _refresh(self) -> None:
        """Learn where the rows of new parts are, and forget parts that are gone."""
        names = self.place.files(".parquet")
        for gone in self._parts.keys() - set(names):
            del self._parts[gone]
        for name in names:
            if name not in self._parts and (known := self._attempt(name, _rows_of)) is not None:
                self._parts[name] = known

    def _read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a part."""
        schema = self._schema_of(columns)

        def read(part: pq.ParquetFile) -> pa.Table:
            return unpacked(part.read(list(columns)).select(columns), schema)

        table = self._attempt(name, read)
        return schema.empty_table() if table is None else table

    def _pick(
        self,
        name: str,
        columns: Sequence[str],
        groups: npt.NDArray[np.int32],
        hits: npt.NDArray[np.bool_],
    ) -> pa.Table:
        """Some columns of those rows of a part that ``hits`` says."""
        schema = self._schema_of(columns)

        def read(part: pq.ParquetFile) -> pa.Table:
            chosen = np.unique(groups[hits])
            sizes = [part.metadata.row_group(i).total_byte_size for i in chosen.tolist()]
            # Hits may lie all over a part; little of what is between them is in memory at a time.
            turns = np.cumsum(sizes) // _BYTES
            found = [schema.empty_table()]
            for turn in np.unique(turns):
                mine = chosen[turns == turn]
                table = part.read_row_groups(mine.tolist(), list(columns)).select(columns)
                found.append(unpacked(table, schema).filter(pa.array(hits[np.isin(groups, mine)])))
            return pa.concat_tables(found)

        table = self._attempt(name, read)
        return schema.empty_table() if table is None else table

    def _attempt(self, name: str, read: Callable[[pq.ParquetFile], T]) -> T | None:
        """What is read of a part; a damaged one is set aside, and what it held is not here."""
        try:
            with self.place.open(name) as handle:
                return read(open_parquet(handle))
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk or a permission, not the part
            if self.record:
                raise RunError(
                    f"{self.place.path}/{name} is damaged: {error} Restore it from a copy, or "
                    "remove it and enroll its writers again."
                ) from error
        self._parts.pop(name, None)
        self.place.set_aside(name)
        return None

    def _schema_of(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in names])

    def _merge(self) -> None:
        """Make one part of many small ones.

        Not on an object store, where nobody can be sure to be alone, and where they do no harm.
        """
        folder = self.place.local
        if folder is None or len(self.place.files(".parquet")) <= _MANY:
            return
        # Where a part is pruned meanwhile, the next one merges.
        with (
            suppress(Timeout, FileNotFoundError),
            FileLock(folder / ".merge.lock", timeout=0),
        ):
            self._refresh()
            small = [name for name, (known, _) in self._parts.items() if len(known) < _SMALL]
            if len(small) <= _MANY:
                return
            oldest = min((folder / name).stat().st_mtime for name in small)
            with new_part(folder, packed(self.schema.empty_table()).schema, oldest) as write:
                for name in small:
                    self._attempt(name, lambda part: self._copy(part, write))
            # The rows are there twice until these are gone, which readers bear.
            for name in small:
                self.place.remove(name)

    def _copy(self, part: pq.ParquetFile, write: Callable[[pa.Table], None]) -> None:
        for rows in row_groups(part):
            write(packed(unpacked(rows.select(self.schema.names), self.schema)))


def _rows_of(part: pq.ParquetFile) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """Hash of the id and row group of every row of a part."""
    sizes = [part.metadata.row_group(i).num_rows for i in range(part.num_row_groups)]
    groups = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return _hashes(part.read(["image_id"]).column("image_id")), groups


def _hashes(ids: pa.Array | pa.ChunkedArray) -> Hashes:
    return np.asarray(pd.util.hash_array(ids.to_pandas().to_numpy(object), categorize=False))


CANVAS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("canvas", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("ink_fraction", pa.float64()),
        ("quality", pa.string()),
        ("quality_detail", pa.string()),
        ("perceptual_hash", pa.string()),
    ]
)


def embedding_schema(length: int) -> pa.Schema:
    """Schema of a store of unit vectors of one length."""
    return pa.schema([("image_id", pa.string()), ("embedding", pa.list_(pa.float32(), length))])


def stack_canvases(rows: pd.DataFrame, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The canvases of store rows as one array (N, height, width)."""
    data = b"".join(rows["canvas"])
    return np.frombuffer(data, np.uint8).reshape(len(rows), height, width).copy()
