"""Signatures with their canvases, as training, calibration and evaluation take them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from siamese.config import Settings
from siamese.preparing import canvas_store, canvases_of
from siamese.training import SignatureSet


def signature_set(settings: Settings, images: pd.DataFrame, pairs: pd.DataFrame) -> SignatureSet:
    """All signatures that a pairs table names, with their canvases."""
    mine = named_in(pairs, images)
    store = canvas_store(settings.data_dir.resolve() / "store", settings.imaging)
    return SignatureSet(
        canvases_of(files_of(mine), settings.imaging, store, workers=settings.scoring.workers),
        mine["writer"].to_numpy(dtype=str),
        (mine["kind"] == "genuine").to_numpy(),
        mine["image_id"].to_numpy(dtype=str),
    )


def named_in(pairs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Rows of the images that a pairs table names, by id."""
    named = {*pairs["reference_id"], *pairs["questioned_id"]}
    return images[images["image_id"].isin(named)].sort_values("image_id")


def files_of(images: pd.DataFrame) -> list[tuple[str, Path]]:
    """Id and path of each image, as the canvases are made from."""
    return [(row.image_id, Path(row.path)) for row in images.itertuples()]
