"""Leak probes: can the answer be had without comparing signatures?

A probe is a simple classifier of genuine against forged, trained on training writers and
tested on test writers. Near AUC 0.5 it finds nothing.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy import ndimage
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from siamese import imaging, reading
from siamese.config import ImagingSettings
from siamese.intervals import Estimate, bootstrap_over_writers
from siamese.metrics import auc

Floats = npt.NDArray[np.float64]

#: The background probe on what the network sees must stay at or below this.
BACKGROUND_LIMIT = 0.60


@dataclass(frozen=True)
class Probes:
    """AUC of each probe on unseen writers; 0.5 is chance.

    background_seen : on the canvas with its ink removed; gates registration. Where imaging
    leaves exactly nothing, as it should, this is 0.5 by construction. background_raw : on the
    paper and the format of the original files, as a measure of what imaging removes.
    global_seen : on global facts of the canvas (amount, box and sharpness of the ink): shape is
    in them too, so this is reported. questioned_only : on the questioned signature's vector,
    never seeing a reference; reported, for tremor is honest evidence, and what else a set's
    forgers' pens left is not told from it.
    """

    background_seen: Estimate
    background_raw: Estimate
    global_seen: Estimate
    questioned_only: Estimate

    @property
    def healthy(self) -> bool:
        """Nothing of the paper reaches the network."""
        return self.background_seen.value <= BACKGROUND_LIMIT

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy}


def run_probes(
    images: pd.DataFrame,
    splits: pd.DataFrame,
    canvases: npt.NDArray[np.uint8],
    vectors: npt.NDArray[np.float32],
    settings: ImagingSettings,
    seed: int,
) -> Probes:
    """Run all probes.

    Parameters
    ----------
    images : IMAGES rows, N of them, with readable files. canvases : (N, H, W). vectors : (N, E).
    """
    split = images["writer"].map(splits.set_index("writer")["split"])
    train, test = (split == "train").to_numpy(), (split == "test").to_numpy()
    genuine = (images["kind"] == "genuine").to_numpy().astype(np.int64)
    writers = images["writer"].to_numpy(dtype=str)
    papers = np.stack([_paper_facts(Path(path), settings) for path in images["path"]])
    seen = np.stack([_background_facts(canvas) for canvas in canvases])
    tree = GradientBoostingClassifier(random_state=seed, n_estimators=60, subsample=0.8)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))

    def probe(model: Any, features: Floats) -> Estimate:
        model.fit(features[train], genuine[train])
        scores = model.predict_proba(features[test])[:, 1]
        return bootstrap_over_writers(
            lambda weights: auc(scores, genuine[test], weights),
            writers[test],
            n=int(test.sum()),
            resamples=300,
            seed=seed,
        )

    return Probes(
        background_seen=probe(tree, seen),
        background_raw=probe(tree, papers),
        global_seen=probe(tree, np.stack([_global_facts(canvas) for canvas in canvases])),
        questioned_only=probe(linear, vectors.astype(np.float64)),
    )


def _background_facts(canvas: npt.NDArray[np.uint8]) -> Floats:
    """What is left of a canvas when its strokes and a rim of two pixels are cut out.

    Mean, spread, extremes and graininess; all 0 where imaging did its work.
    """
    dark = canvas > imaging.otsu_threshold(canvas)
    paper, ink = canvas[~dark].mean(), canvas[dark].mean() if dark.any() else 255.0
    strokes = canvas > paper + 0.3 * (ink - paper)
    rest = canvas[~ndimage.binary_dilation(strokes, iterations=2)].astype(np.float64)
    if rest.size < 2:
        return np.zeros(5)
    grain = np.abs(np.diff(rest)).mean()
    return np.array([rest.mean(), rest.std(), rest.min(), rest.max(), grain])


def _global_facts(canvas: npt.NDArray[np.uint8]) -> Floats:
    """What a canvas tells without its shape: ink's share and level, its box, its sharpness."""
    ink = canvas[canvas > 0].astype(np.float64)
    top, bottom, left, right = imaging.ink_box(canvas)
    edges = np.abs(np.diff(canvas.astype(np.float64), axis=1)).sum() / max(ink.sum(), 1.0)
    return np.array([ink.size / canvas.size, ink.mean(), bottom - top, right - left, edges])


def _paper_facts(path: Path, settings: ImagingSettings) -> Floats:
    """Global facts of the file: paper's mean, noise and gradient, size, format."""
    data = path.read_bytes()
    grey = reading.decode(data, settings)
    paper = grey > imaging.otsu_threshold(grey)
    with Image.open(io.BytesIO(data), formats=reading.FORMATS) as image:
        extension = float(image.format == "PNG")
    height, width = grey.shape
    values = grey[paper]
    low, high = np.percentile(values, [5, 95])
    steps = np.abs(np.diff(grey.astype(np.int16), axis=1))
    noise = steps[paper[:, 1:] & paper[:, :-1]].mean()
    return np.array([values.mean(), values.std(), low, high, noise, width, height, extension])
