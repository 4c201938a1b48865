"""Batches of P writers × (genuine + forged), so that every pair in the batch can be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WriterImages:
    """Row numbers of one writer's images."""

    genuine: Indices
    forgeries: Indices


def group_by_writer(writers: Indices, genuine: npt.NDArray[np.bool_]) -> list[WriterImages]:
    """Group rows by writer, leaving out writers with fewer than two genuine images."""
    groups = []
    for writer in np.unique(writers):
        mine = writers == writer
        group = WriterImages(np.flatnonzero(mine & genuine), np.flatnonzero(mine & ~genuine))
        if len(group.genuine) >= 2:
            groups.append(group)
    return groups


def sample_batch(
    groups: list[WriterImages],
    step: int,
    seed: int,
    *,
    writers_per_batch: int,
    genuine_per_writer: int,
    forgeries_per_writer: int,
) -> Indices:
    """Rows of one batch; a pure function of seed and step, so a resumed run sees the same.

    Writers are dealt without replacement through rounds, each seen once a round. Images are
    drawn without replacement where a writer has enough.
    """
    count = min(writers_per_batch, len(groups))
    first = step * count
    chosen = [_dealt(len(groups), position, seed) for position in range(first, first + count)]
    rng = np.random.default_rng((seed, step, 1))
    rows = []
    for index in chosen:
        group = groups[index]
        rows.append(_draw(group.genuine, genuine_per_writer, rng))
        rows.append(_draw(group.forgeries, forgeries_per_writer, rng))
    return np.concatenate(rows)


def _dealt(writers: int, position: int, seed: int) -> int:
    deck, place = divmod(position, writers)
    return int(np.random.default_rng((seed, deck, 2)).permutation(writers)[place])


def _draw(rows: Indices, count: int, rng: np.random.Generator) -> Indices:
    if len(rows) == 0 or count == 0:
        return rows[:0]
    return rng.choice(rows, size=count, replace=len(rows) < count)
