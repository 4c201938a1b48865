"""Trials: a questioned signature against one or several references of a writer."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
#: Of unit vectors.
FARTHEST = 2.0


@dataclass(frozen=True)
class Trials:
    """N comparisons with a known answer.

    distance : (N,) in [0, 2], fused over the references. kind : (N,) pair kinds. writer : (N,)
    whose references they are. questioned : (N,) ids. spread : (N,) of the references.
    questioned_writer : (N,) who wrote or imitates: of a random forgery another writer.
    """

    n_references: int
    distance: Floats
    kind: npt.NDArray[np.str_]
    writer: npt.NDArray[np.str_]
    questioned: npt.NDArray[np.str_]
    spread: Floats
    questioned_writer: npt.NDArray[np.str_]

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """(N,) 1 genuine, 0 forgery."""
        return (self.kind == "genuine").astype(np.int64)

    def to_frame(self) -> pd.DataFrame:
        """One row a trial."""
        return pd.DataFrame(vars(self))

    @staticmethod
    def from_frame(frame: pd.DataFrame) -> Trials:
        """Trials with one number of references, as :meth:`to_frame` gave them.

        Where a row does not say who wrote the questioned signature (models made before 2026-11-28
        do not), the references' writer stands for him.
        """
        writers = frame["writer"]
        others = frame.get("questioned_writer", writers)
        return Trials(
            int(frame["n_references"].iloc[0]),
            frame["distance"].to_numpy(np.float64),
            frame["kind"].to_numpy(str),
            frame["writer"].to_numpy(str),
            frame["questioned"].to_numpy(str),
            frame["spread"].to_numpy(np.float64),
            np.where(others.isna(), writers, others).astype(str),
        )

    def of(self, *kinds: str) -> Trials:
        """Those of some kinds."""
        return self.take(np.flatnonzero(np.isin(self.kind, kinds)))

    def take(self, rows: npt.NDArray[np.int64]) -> Trials:
        """Those at some places."""
        return Trials(
            self.n_references,
            self.distance[rows],
            self.kind[rows],
            self.writer[rows],
            self.questioned[rows],
            self.spread[rows],
            self.questioned_writer[rows],
        )

    def stretched(self, by: float | Floats) -> Trials:
        """Distances and spreads times what :func:`siamese.stretch.stretch` tells, or (N,) such."""
        distance = np.minimum(self.distance * by, FARTHEST)
        return replace(self, distance=distance, spread=self.spread * by)


def pair_distances(
    pairs: pd.DataFrame, ids: npt.NDArray[np.str_], vectors: npt.NDArray[np.float32]
) -> Floats:
    """Euclidean distance of each pair of a pairs table, in [0, 2].

    Parameters
    ----------
    ids : (N,) image ids. vectors : (N, E) their unit vectors, in the same order.
    """
    row = {image_id: i for i, image_id in enumerate(ids)}
    left = vectors[[row[i] for i in pairs["reference_id"]]]
    right = vectors[[row[i] for i in pairs["questioned_id"]]]
    return np.asarray(np.linalg.norm(left - right, axis=1), dtype=np.float64)


def single_trials(pairs: pd.DataFrame, distance: Floats) -> Trials:
    """Each pair of a table is a trial with one reference."""
    return Trials(
        1,
        distance,
        pairs["kind"].to_numpy(dtype=str),
        pairs["writer"].to_numpy(dtype=str),
        pairs["questioned_id"].to_numpy(dtype=str),
        np.zeros(len(pairs)),
        pairs["questioned_writer"].to_numpy(dtype=str),
    )


def fuse(distances: Floats, spread: float | Floats) -> Floats:
    """Distances to several references into one: their mean, less half the references' spread.

    This is half the unbiased estimate of the energy distance (Székely and Rizzo 2013) between the
    questioned signature and the references, in [0, 2] by the triangle inequality: a writer who
    varies much is given
    more room. On calibration writers it was better than the mean, the least distance, and
    other shares of the spread (``benchmarks/fusion.py``).

    Parameters
    ----------
    distances : (..., R) to each reference. spread : (...) as :func:`spread_of` the references.

    >>> fuse(np.array([[0.5, 0.5]]), 0.25).tolist()
    [0.375]
    """
    return np.asarray(np.sort(distances, axis=-1).mean(axis=-1) - spread / 2)


def spread_of(references: npt.NDArray[np.float32]) -> Floats:
    """Mean distance between two of the references (..., R, E), (...); 0 for a single one."""
    count = references.shape[-2]
    if count < 2:
        return np.zeros(references.shape[:-2])
    left, right = _every_two(count)
    gaps = np.linalg.norm(references[..., left, :] - references[..., right, :], axis=-1)
    # Sorted, so that the order of the references changes nothing, to the last bit.
    return np.asarray(np.sort(gaps, axis=-1).astype(np.float64).mean(axis=-1))


@functools.cache
def _every_two(n: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Places of both of every pair of n things, each once."""
    return np.triu_indices(n, 1)


def fused_trials(
    pairs: pd.DataFrame,
    ids: npt.NDArray[np.str_],
    vectors: npt.NDArray[np.float32],
    n_references: int,
    seed: int,
    draws: int = 5,
) -> Trials:
    """Trials with several references, drawn from the signatures that a pairs table names.

    For each writer with more than ``n_references`` genuine signatures, ``draws`` times:
    that many are taken as references; questioned are the writer's other genuine ones, all
    that the table holds as that writer's skilled forgeries, and all that it holds as random.
    """
    row = {image_id: i for i, image_id in enumerate(ids)}
    columns: list[list[npt.NDArray[Any]]] = [[np.zeros(0)], [], [], [], [np.zeros(0)], []]
    for index, (writer, mine) in enumerate(pairs.groupby("writer", sort=True)):
        rng = np.random.default_rng((seed, index, n_references, 6))
        own = mine[mine["kind"] == "genuine"]
        genuine = np.unique(np.concatenate([own["reference_id"], own["questioned_id"]]).astype(str))
        if len(genuine) <= n_references:
            continue
        asked_of = mine[["kind", "questioned_id", "questioned_writer"]].drop_duplicates()
        forged = asked_of[asked_of["kind"] != "genuine"].sort_values(["kind", "questioned_id"])
        for _ in range(draws):
            order = rng.permutation(genuine)
            references = vectors[[row[i] for i in order[:n_references]]]
            spread = float(spread_of(references))
            questioned = np.append(order[n_references:], forged["questioned_id"].to_numpy(str))
            n, own_left = len(questioned), len(order) - n_references
            asked = vectors[[row[i] for i in questioned]]
            gaps = np.linalg.norm(asked[:, None] - references[None], axis=2)
            for column, values in zip(
                columns,
                (
                    fuse(gaps.astype(np.float64), spread),
                    np.append(np.full(own_left, "genuine"), forged["kind"].to_numpy(str)),
                    np.full(n, str(writer)),
                    questioned,
                    np.full(n, spread),
                    np.append(
                        np.full(own_left, str(writer)), forged["questioned_writer"].to_numpy(str)
                    ),
                ),
                strict=True,
            ):
                column.append(values)
    distance, kinds, writers, ids_asked, spreads, others = (
        np.concatenate(column) if column else np.zeros(0, str) for column in columns
    )
    return Trials(n_references, distance, kinds, writers, ids_asked, spreads, others)
