"""Parquet with a checksum a page: bytes that changed on the disk are an error, never a value."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(source: Path | IO[bytes]) -> pq.ParquetFile:
    """A file whose pages are held against their checksums when they are read."""
    return pq.ParquetFile(source, page_checksum_verification=True)


def parquet_writer(handle: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of such a file."""
    # A dictionary of numbers, or of pictures, is all of them once more.
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    categories = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    return pq.ParquetWriter(
        handle,
        schema,
        compression="zstd",
        use_dictionary=[*words, *categories],
        write_page_checksum=True,
    )


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """A table as the content of such a file."""
    out: Any = io.BytesIO()
    with parquet_writer(out, table.schema) as writer:
        writer.write_table(table, row_group_size)
    return bytes(out.getvalue())
