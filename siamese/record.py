"""What a verifier was calibrated and tested on, kept with it to hold later batches against."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import ndimage

from siamese.config import ImagingSettings
from siamese.parquet import parquet_bytes
from siamese.store import ContentStore, stack_canvases
from siamese.trials import Trials

#: Facts of a picture that tell scanner, pen and hand apart, and what each is.
STATISTICS = {
    "width": "width of the scan, pixels",
    "height": "height of the scan, pixels",
    "ink_fraction": "share of the scan that is ink",
    "stroke_width": "width of the strokes on the canvas, pixels",
    "aspect": "height of the signature over its width",
}
_AT_ONCE = 512  # pictures whose canvases are in memory
_TRIALS = pa.schema(
    [
        ("part", pa.dictionary(pa.int8(), pa.string())),
        ("n_references", pa.int32()),
        ("distance", pa.float64()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("writer", pa.dictionary(pa.int32(), pa.string())),
        ("questioned", pa.dictionary(pa.int32(), pa.string())),
        ("spread", pa.float64()),
        ("questioned_writer", pa.dictionary(pa.int32(), pa.string())),
    ]
)
_PICTURES = pa.schema([("writer", pa.string()), *((name, pa.float64()) for name in STATISTICS)])


def _no_pictures() -> pd.DataFrame:
    return _PICTURES.empty_table().to_pandas()


@dataclass(frozen=True)
class Record:
    """Trials and pictures behind a verifier's figures.

    calibration, test : trials by number of references, ascending; test is empty when nobody
    was tested. pictures : ``writer`` and the :data:`STATISTICS` of each genuine
    calibration signature.
    """

    calibration: tuple[Trials, ...] = ()
    test: tuple[Trials, ...] = ()
    pictures: pd.DataFrame = field(default_factory=_no_pictures)

    def calibrated_with(self, n_references: int) -> Trials | None:
        """The calibration trials with that many references."""
        return next((t for t in self.calibration if t.n_references == n_references), None)

    def tested_near(self, n_references: int) -> Trials | None:
        """Of the test trials, those with the nearest number of references."""
        return min(self.test, key=lambda t: abs(t.n_references - n_references), default=None)

    def to_files(self) -> dict[str, bytes]:
        """Two Parquet files by name."""
        frames = [
            trials.to_frame().assign(part=part)
            for part, several in (("calibration", self.calibration), ("test", self.test))
            for trials in several
        ]
        trials = pd.concat(frames) if frames else _TRIALS.empty_table().to_pandas()
        return {
            "trials.parquet": _parquet(trials, _TRIALS),
            "pictures.parquet": _parquet(self.pictures, _PICTURES),
        }

    @staticmethod
    def from_files(files: dict[str, bytes]) -> Record:
        """The record that :meth:`to_files` made.

        Raises
        ------
        KeyError, ValueError : a file is missing or is no such table.
        """
        trials = pq.read_table(io.BytesIO(files["trials.parquet"]), schema=_TRIALS).to_pandas()
        calibration, test = (
            tuple(
                Trials.from_frame(mine)
                for _, mine in trials[trials["part"] == part].groupby("n_references")
            )
            for part in ("calibration", "test")
        )
        return Record(
            calibration,
            test,
            pq.read_table(io.BytesIO(files["pictures.parquet"]), schema=_PICTURES).to_pandas(),
        )


def picture_facts(
    canvases: npt.NDArray[np.uint8], facts: pd.DataFrame, writers: Iterable[str]
) -> pd.DataFrame:
    """The :data:`STATISTICS` of pictures.

    Parameters
    ----------
    canvases : (N, H, W). facts : their N rows of the canvas store. writers : (N,).
    """
    shapes = [_shape(canvas) for canvas in canvases]
    return pd.DataFrame(
        {
            "writer": list(writers),
            "width": facts["width"].to_numpy(np.float64),
            "height": facts["height"].to_numpy(np.float64),
            "ink_fraction": facts["ink_fraction"].to_numpy(np.float64),
            "stroke_width": [stroke for stroke, _ in shapes],
            "aspect": [aspect for _, aspect in shapes],
        }
    )


def stored_facts(
    store: ContentStore, settings: ImagingSettings, writers: Mapping[str, str]
) -> pd.DataFrame:
    """The :data:`STATISTICS` of pictures in a canvas store; those no longer in it are left out.

    Parameters
    ----------
    writers : by image id, whose each is; their order is that of the result.
    """
    found, ids = [], list(writers)
    for start in range(0, max(len(ids), 1), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        rows = store.get(some)
        rows = rows.loc[[image_id for image_id in some if image_id in rows.index]]
        canvases = stack_canvases(rows, settings.height, settings.width)
        found.append(picture_facts(canvases, rows, [writers[one] for one in rows.index]))
    return pd.concat(found, ignore_index=True)


def _shape(canvas: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Stroke width, as twice the ink's area over the length of its edge, and aspect."""
    ink = canvas > 0
    edge = int((ink & ~ndimage.binary_erosion(ink)).sum())
    rows, columns = ink.any(1).sum(), ink.any(0).sum()
    return 2 * float(ink.sum()) / max(edge, 1), float(rows) / max(float(columns), 1.0)


def _parquet(frame: pd.DataFrame, schema: pa.Schema) -> bytes:
    return parquet_bytes(
        pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    )
