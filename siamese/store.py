"""A content-addressed store: what was computed for a picture is computed once, ever.

A store is a folder of Parquet parts for one way of computing (one imaging fingerprint, one
model), keyed by ``image_id``, which follows from content. Parts are written under a temporary
name and renamed, each with a name of its own, so that writers never meet and a killed one
leaves nothing behind. A part that cannot be read is set aside and its rows computed again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from siamese.errors import RunError
from siamese.files import replace_file


class ContentStore:
    """Rows by ``image_id``.

    Parameters
    ----------
    folder : of this store alone; named after the fingerprint of what computes its rows.
    schema : Arrow schema with the column ``image_id``.
    record : its rows cannot be made again, so that a damaged part is an error.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, record: bool = False) -> None:
        self.folder = folder
        self.schema = schema
        self.record = record

    def get(self, image_ids: Sequence[str]) -> pd.DataFrame:
        """Rows of those ids that are here, indexed by ``image_id``, each once."""
        if self.folder.is_dir():
            os.utime(self.folder)  # used now: see siamese.retention
        wanted = pa.array(list(dict.fromkeys(image_ids)), pa.string())
        found = [self.schema.empty_table()]
        for part in self._parts():
            table = self._read(part)
            mask = pa.compute.is_in(table.column("image_id"), value_set=wanted)
            found.append(table.filter(mask))
        frame: pd.DataFrame = pa.concat_tables(found).to_pandas()
        return frame.drop_duplicates("image_id").set_index("image_id")

    def columns(self, *names: str) -> pd.DataFrame:
        """Some columns of all rows."""
        found = [self._read(part).select(names) for part in self._parts()]
        return pa.concat_tables([self.schema.empty_table().select(names), *found]).to_pandas()

    def put(self, rows: pd.DataFrame) -> None:
        """Add rows as one new part."""
        if rows.empty:
            return
        table = pa.Table.from_pandas(rows, schema=self.schema, preserve_index=False)
        with replace_file(self.folder / f"part-{uuid.uuid4().hex}.parquet") as handle:
            pq.write_table(table, handle, compression="zstd")

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _read(self, part: Path) -> pa.Table:
        try:
            return pq.read_table(part, schema=self.schema)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk or a permission, not the part
            if self.record:
                raise RunError(
                    f"{part} is damaged: {error} Restore it from a copy, or remove it and enroll "
                    "its writers again."
                ) from error
            part.replace(part.with_suffix(".damaged"))
            return self.schema.empty_table()


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
