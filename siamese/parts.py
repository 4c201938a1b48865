"""Parts of a store written anew, some rows at a time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from siamese.files import replace_file
from siamese.parquet import parquet_writer

#: Rows that are read together.
GROUP = 256


def row_groups(part: pq.ParquetFile) -> Iterator[pa.Table]:
    """Its rows, some at a time: all canvases of a part may be more than there is memory."""
    return (part.read_row_group(i) for i in range(part.num_row_groups))


@contextmanager
def new_part(folder: Path, schema: pa.Schema, made: float) -> Iterator[Callable[[pa.Table], None]]:
    """What writes some rows at a time into a new part, in row groups of the usual size.

    Parameters
    ----------
    made : when the oldest of them was, in seconds; siamese.retention goes by it.
    """
    path, rest = folder / new_name(), schema.empty_table()
    with replace_file(path) as handle, parquet_writer(handle, schema) as writer:

        def write(rows: pa.Table) -> None:
            nonlocal rest
            rest = pa.concat_tables([rest, rows])
            while len(rest) >= GROUP:
                writer.write_table(rest.slice(0, GROUP))
                rest = rest.slice(GROUP)

        yield write
        if len(rest):
            writer.write_table(rest)
    os.utime(path, (made, made))


def rest_of(
    part: pq.ParquetFile,
    which: Callable[[pa.Table], pa.ChunkedArray],
    folder: Path,
    made: float,
) -> int:
    """Write a part again without some rows, unless it has none of them or no other; how many."""
    count = sum(pc.sum(which(rows)).as_py() or 0 for rows in row_groups(part))
    if 0 < count < part.metadata.num_rows:
        with new_part(folder, part.schema_arrow, made) as write:
            for rows in row_groups(part):
                write(rows.filter(pc.invert(which(rows))))
    return count


def new_name() -> str:
    """A name that nobody else has."""
    return f"part-{uuid.uuid4().hex}.parquet"
