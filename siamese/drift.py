"""Does a batch look like what the verifier was calibrated on?

Two-sample tests by the Kolmogorov-Smirnov distance D, the greatest gap between two cumulative
distributions. Calibration signatures come in writers, so the usual p-value would call any batch
strange; here D is held against what D is when calibration writers are drawn again (bootstrap
over writers) and a batch like this one is drawn from them: as many signatures of as many writers,
and for the distances as many of each kind as fit best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.preparing import canvas_store
from siamese.record import STATISTICS, Record, stored_facts
from siamese.spreadsheets import unguarded
from siamese.trials import Trials
from siamese.verifier import Verifier

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Chance of one false alarm among all tests on a batch like the calibration data.
LEVEL = 0.05
_RESAMPLES = 400
_MOST = 2000  # claims that are looked at
_FEWEST = 20  # values below which a batch tells nothing
#: Columns of the decisions that are looked at.
COLUMNS = ("distance", "n_references", "questioned_id", "writer_id")
_GRID = np.linspace(0, 2, 201)  # of distances
_SHARES = np.array(
    [(a, b, 20 - a - b) for a in range(21) for b in range(21 - a)], np.float64
) / 20  # fmt: skip


@dataclass(frozen=True)
class Shift:
    """One test. ``distance`` is D in [0, 1]; ``p_value`` its chance without a shift.

    ``alarm``: less likely than :data:`LEVEL` shared among all tests of the batch.
    """

    name: str
    title: str
    n: int
    distance: float
    p_value: float
    alarm: bool


def compare(
    record: Record,
    n_references: int,
    distances: Floats,
    pictures: pd.DataFrame,
    seed: int,
    claims: Ints | None = None,
) -> list[Shift]:
    """Hold a batch against a record.

    Parameters
    ----------
    distances : (N,) of claims that were decided by the calibration with that number of references.
    pictures : ``writer`` and the :data:`siamese.record.STATISTICS` of the batch's questioned
        signatures; each by itself where the writers are not known.
    claims : how many of the distances are of each writer; none: each is of another.

    Returns
    -------
    One shift for the distances and one for each statistic; none for what the record lacks or
    the batch has too few of.
    """
    rng = np.random.default_rng((seed, 8))
    found: list[tuple[str, str, int, float, float]] = []
    trials = record.calibrated_with(n_references)
    if trials is not None and len(distances) >= _FEWEST:
        title = "distance to the references (against any mix of genuine and forged)"
        sizes = np.ones(len(distances), np.int64) if claims is None else claims
        told = _distances(trials, distances, sizes, rng)
        found.append(("distance", title, len(distances), *told))
    writers = record.pictures["writer"].to_numpy(str)
    for name, title in STATISTICS.items() if len(writers) and len(pictures) >= _FEWEST else ():
        known = record.pictures[name].to_numpy(np.float64)
        new = pictures[name].to_numpy(np.float64)
        sizes = pictures["writer"].value_counts().to_numpy()
        found.append((name, title, len(new), *_values(known, writers, new, sizes, rng)))
    level = LEVEL / max(len(found), 1)
    return [Shift(*one, alarm=one[-1] <= level) for one in found]


def of_batch(decisions: pd.DataFrame, verifier: Verifier, store: Path, seed: int) -> list[Shift]:
    """Hold a decisions table against the verifier's record.

    Parameters
    ----------
    decisions : with the :data:`COLUMNS` at least, ``writer_id`` where there is one.
    store : folder of the canvases. Of a large batch, a sample is looked at.
    """
    scored = decisions[decisions["distance"].notna()]
    scored = scored.sample(min(len(scored), _MOST), random_state=seed)
    usual = usual_references(scored)
    compared = scored[scored["n_references"] == usual]
    calibrated = verifier.calibration(usual).n_references
    if calibrated == 1 < usual:  # these were decided by a mean that nothing was calibrated for
        compared = compared[:0]
    distances = compared["distance"].to_numpy(np.float64)
    claims = _whose(compared).value_counts().to_numpy()
    asked = scored.drop_duplicates("questioned_id")
    writers = dict(zip(asked["questioned_id"], _whose(asked), strict=True))
    size = verifier.imaging_settings
    pictures = stored_facts(canvas_store(store, size), size, writers)
    return compare(verifier.record, calibrated, distances, pictures, seed, claims)


def _whose(decisions: pd.DataFrame) -> pd.Series:
    """The writer of each claim; its questioned picture, where none is named."""
    pictures = decisions["questioned_id"]
    if "writer_id" not in decisions:
        return pictures
    named = decisions["writer_id"].fillna("").map(unguarded)  # of some batches none may be named
    return named.where(named != "", pictures)


def usual_references(decisions: pd.DataFrame) -> int:
    """The number of references that most claims have; 1 where none has any."""
    compared = decisions.loc[decisions["n_references"] > 0, "n_references"]
    return int(compared.mode().iloc[0]) if len(compared) else 1


def _values(
    known: Floats,
    writers: npt.NDArray[np.str_],
    new: Floats,
    sizes: Ints,
    rng: np.random.Generator,
) -> tuple[float, float]:
    rows = _rows_by_writer(writers)
    pick = _one_of(rows, rng)

    def resample() -> float:
        drawn = known[_draw(rows, rng)]
        chosen = np.repeat(rng.integers(len(rows), size=len(sizes)), sizes)
        return _ks(drawn, known[pick(chosen)])

    return _with_p_value(_ks(known, new), resample)


def _distances(
    trials: Trials, new: Floats, sizes: Ints, rng: np.random.Generator
) -> tuple[float, float]:
    """D to the nearest mix of genuine, skilled and random trials: a batch's shares are unknown."""
    kinds = [np.flatnonzero(trials.kind == kind) for kind in np.unique(trials.kind)]
    rows = _rows_by_writer(trials.writer)
    # A writer who has none of a kind is as all are in it.
    by_kind = [[mine if len(mine := np.intersect1d(one, k)) else k for one in rows] for k in kinds]
    picks = [_one_of(one, rng) for one in by_kind]
    shares = _SHARES if len(kinds) == 3 else _SHARES[_SHARES[:, 2] == 0][:, :2]

    def gaps(chosen: npt.NDArray[np.int64], batch: Floats) -> Floats:
        """D to each mix."""
        counts = np.bincount(chosen, minlength=len(trials.kind)).astype(np.float64)
        curves = np.stack([_cumulative(trials.distance[k], counts[k]) for k in kinds])
        return np.abs(shares @ curves - _cumulative(batch, np.ones(len(batch)))).max(axis=1)

    observed = gaps(np.arange(len(trials.kind)), new)
    fitted = shares[observed.argmin()]

    def resample() -> float:
        chosen = np.repeat(rng.integers(len(rows), size=len(sizes)), sizes)
        kind = rng.choice(len(kinds), len(chosen), p=fitted)
        batch = [trials.distance[pick(chosen[kind == k])] for k, pick in enumerate(picks)]
        return float(gaps(_draw(rows, rng), np.concatenate(batch)).min())

    return _with_p_value(float(observed.min()), resample)


def _with_p_value(observed: float, resample: Callable[[], float]) -> tuple[float, float]:
    drawn = np.array([resample() for _ in range(_RESAMPLES)])
    return observed, float((1 + (drawn >= observed).sum()) / (1 + _RESAMPLES))


def _rows_by_writer(writers: npt.NDArray[np.str_]) -> list[npt.NDArray[np.int64]]:
    return [np.flatnonzero(writers == writer) for writer in np.unique(writers)]


def _one_of(rows: Sequence[Ints], rng: np.random.Generator) -> Callable[[Ints], Ints]:
    """What gives a row at random of each writer that was chosen."""
    counts = np.array([len(mine) for mine in rows])
    order, starts = np.concatenate(rows), np.cumsum(counts) - counts

    def pick(chosen: Ints) -> Ints:
        return order[starts[chosen] + (rng.random(len(chosen)) * counts[chosen]).astype(np.int64)]

    return pick


def _draw(rows: Sequence[npt.NDArray[np.int64]], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])


def _ks(a: Floats, b: Floats) -> float:
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)
    return float(np.abs(gap).max())


def _cumulative(distances: Floats, weights: Floats) -> Floats:
    """Share of the weight at or below each point of the grid."""
    places = np.searchsorted(_GRID, distances, "left")
    counts = np.bincount(places, weights=weights, minlength=len(_GRID) + 1)[: len(_GRID)]
    return np.asarray(np.cumsum(counts) / max(weights.sum(), 1e-9))
