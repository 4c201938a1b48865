"""Signatures with their canvases, as training, calibration and evaluation take them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from siamese.config import Settings
from siamese.preparing import canvas_store, canvases_of
from siamese.training import SignatureSet


def signature_set(settings: Settings, images: pd.DataFrame, pairs: pd.DataFrame) -> SignatureSet:
    """All signatures that a pairs table names, with their canvases."""
    named = set(pairs["reference_id"]) | set(pairs["questioned_id"])
    mine = images[images["image_id"].isin(named)].sort_values("image_id")
    store = canvas_store(settings.data_dir.resolve() / "store", settings.imaging)
    files = [(row.image_id, Path(row.path)) for row in mine.itertuples()]
    return SignatureSet(
        canvases_of(files, settings.imaging, store, workers=settings.scoring.workers),
        mine["writer"].to_numpy(dtype=str),
        (mine["kind"] == "genuine").to_numpy(),
        mine["image_id"].to_numpy(dtype=str),
    )
