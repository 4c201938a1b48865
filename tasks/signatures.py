"""Signatures with their canvases, as training, calibration and evaluation take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.config import Settings
from siamese.preparing import canvas_store, canvases_of
from siamese.stretch import near_by_source, stretch
from siamese.training import SignatureSet
from siamese.trials import Trials


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


def near_hands_of(
    signatures: SignatureSet, vectors: npt.NDArray[np.float32], images: pd.DataFrame
) -> dict[str, float]:
    """How near hands lie, by source: see :mod:`siamese.stretch`."""
    sources = images.set_index("image_id")["source"].loc[signatures.ids].to_numpy(str)
    return near_by_source(vectors, signatures.writers, signatures.genuine, sources)


def as_decided(
    trials: Trials, near: dict[str, float], usual: float, images: pd.DataFrame
) -> Trials:
    """Trials with their distances as bulk scoring of each source by itself would have them.

    Parameters
    ----------
    near : of :func:`near_hands_of`. usual : of the verifier.
    """
    by = {source: stretch(here, usual) for source, here in near.items()}
    source_of = images.drop_duplicates("writer").set_index("writer")["source"]
    return trials.stretched(source_of.loc[trials.writer].map(by).to_numpy(np.float64))


def named_in(pairs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Rows of the images that a pairs table names, by id."""
    named = {*pairs["reference_id"], *pairs["questioned_id"]}
    return images[images["image_id"].isin(named)].sort_values("image_id")


def files_of(images: pd.DataFrame) -> list[tuple[str, Path]]:
    """Id and path of each image, as the canvases are made from."""
    return [(row.image_id, Path(row.path)) for row in images.itertuples()]
