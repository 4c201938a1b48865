"""How forgeries of a set differ from genuine signatures in what needs no comparison to see.

Pen, scanner and size of the scan: where all forgeries of a set lie on one side of their writers'
genuine signatures, whoever learns that tells them by how the set was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from accuracy_data import SEED, SOURCES, Data

from siamese import imaging, reading
from siamese.intervals import Estimate, bootstrap_over_writers

FACTS = ("spread of the ink's tone", "thickness of strokes", "length of strokes", "height of ink")


def facts_of(ink: reading.Grey) -> tuple[float, float, float, float]:
    """The :data:`FACTS` of ink on 0, in levels and pixels."""
    dark = np.pad(ink > 0, 1)
    inner = dark[1:-1, :-2] & dark[1:-1, 2:] & dark[:-2, 1:-1] & dark[2:, 1:-1]
    rim = max(int((dark[1:-1, 1:-1] & ~inner).sum()), 1)
    top, bottom, _, _ = imaging.ink_box(ink)
    return float(ink[ink > 0].std()), 2 * float(dark.sum()) / rim, rim / 2, float(bottom - top)


def shifts(data: Data) -> Mapping[str, Mapping[str, Any]]:
    """By source and fact: how far forgeries lie from their writers' genuine signatures.

    In standard deviations of a writer's genuine signatures, mean of training and calibration
    writers, with intervals by bootstrap over them. A fact that never varies is left out.
    """
    known = data.images[data.images["split"] != "test"]
    values = np.array([facts_of(data.read(path)[1]) for path in known["path"]])
    found = {}
    for source in SOURCES:
        mine = (known["source"] == source).to_numpy()
        found[source] = {
            fact: asdict(_shift(known[mine], values[mine, place]))
            for place, fact in enumerate(FACTS)
            if np.ptp(values[mine, place]) > 0
        }
    return found


def _shift(images: pd.DataFrame, values: npt.NDArray[np.float64]) -> Estimate:
    table = images.assign(value=values)
    genuine = table[table["kind"] == "genuine"].groupby("writer")["value"]
    forged = table[table["kind"] != "genuine"].groupby("writer")["value"].mean()
    apart = ((forged - genuine.mean()) / np.sqrt(genuine.var().mean())).dropna()
    each = apart.to_numpy()
    return bootstrap_over_writers(
        lambda weights: (weights * each).sum(-1) / weights.sum(-1),
        apart.index.to_numpy(str),
        n=len(table),
        resamples=300,
        seed=SEED,
    )
