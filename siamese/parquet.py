"""Parquet with a checksum a page: bytes that changed on the disk are an error, never a value."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(source: Path | IO[bytes]) -> pq.ParquetFile:
    """A file whose pages are held against their checksums when they are read."""
    return pq.ParquetFile(source, page_checksum_verification=True)


def in_parts(file: pq.ParquetFile, most: int) -> Iterator[pa.Table]:
    """All rows in their order, at most so many at a time, of as few row groups as that needs.

    Where ``iter_batches`` holds all that it has read until the last row, this holds one part.
    """
    groups: list[int] = []
    rows = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if groups and rows + size > most:
            yield from _sliced(file.read_row_groups(groups), most)
            groups, rows = [], 0
        groups.append(group)
        rows += size
    if groups:
        yield from _sliced(file.read_row_groups(groups), most)


def _sliced(table: pa.Table, most: int) -> Iterator[pa.Table]:
    return (table.slice(start, most) for start in range(0, len(table), most))


def parquet_writer(handle: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of such a file."""
    # Vectors hardly get smaller, and are found sooner as they are.
    vectors = (pa.types.is_nested, pa.types.is_fixed_size_binary)
    codecs = {
        field.name: "zstd" for field in schema if not any(known(field.type) for known in vectors)
    }
    # A dictionary of numbers, or of pictures, is all of them once more.
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    categories = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    return pq.ParquetWriter(
        handle,
        schema,
        compression=codecs,
        use_dictionary=[*words, *categories],
        write_page_checksum=True,
    )


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """A table as the content of such a file."""
    out: Any = io.BytesIO()
    with parquet_writer(out, table.schema) as writer:
        writer.write_table(table, row_group_size)
    return bytes(out.getvalue())


def packed(table: pa.Table) -> pa.Table:
    """Vectors of float32 as so many bytes each: Parquet reads lists a number at a time."""
    for place, field in enumerate(table.schema):
        if not pa.types.is_fixed_size_list(field.type):
            continue
        numbers = table.column(place).combine_chunks().flatten().to_numpy().astype("<f4")
        kind = pa.binary(4 * field.type.list_size)
        held = pa.Array.from_buffers(kind, len(table), [None, pa.py_buffer(numbers)])
        table = table.set_column(place, field.with_type(kind), held)
    return table


def unpacked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in a schema, its vectors as lists again, not copied; those that were lists too.

    Raises
    ------
    pyarrow.ArrowException : it has columns of other kinds, or vectors of another length.
    """
    for place, (field, now) in enumerate(zip(schema, table.schema, strict=True)):
        both = pa.types.is_fixed_size_list(field.type), pa.types.is_fixed_size_binary(now.type)
        if not all(both):
            continue
        size = field.type.list_size
        if now.type.byte_width != 4 * size:
            raise pa.ArrowInvalid(f"{now.type.byte_width} bytes are not {size} numbers")
        lists = [
            pa.FixedSizeListArray.from_arrays(
                pa.Array.from_buffers(
                    pa.float32(), len(part) * size, [None, part.buffers()[1]],
                    offset=part.offset * size,
                ),
                size,
            )
            for part in table.column(place).chunks
        ]  # fmt: skip
        table = table.set_column(place, field, pa.chunked_array(lists, field.type))
    return table.cast(schema)
