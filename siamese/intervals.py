"""Figures with their intervals, over writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    ``n`` counts trials, ``writers`` the writers that were resampled.
    """

    value: float
    low: float
    high: float
    n: int
    writers: int

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


def bootstrap_over_writers(
    statistic: Callable[[Floats], Floats],
    writers: npt.NDArray[np.str_],
    *,
    n: int,
    resamples: int,
    seed: int,
    questioned: npt.NDArray[np.str_] | None = None,
    signatures: int | None = None,
) -> Estimate:
    """A figure with its 95 % percentile interval, resampling writers, not pairs.

    Pairs of one writer go together, since they are not independent: the interval is that of the
    figure on other writers. A pair of two writers counts as often as both are drawn, the product
    (Snijders and Borgatti, Connections 22, 1999). Percentiles of few writers cover less than they
    say: of eight, some 88 %.

    Parameters
    ----------
    statistic : takes trial weights (B, N), returns (B,), nan where it has nothing to count; called
        with all-one weights too.
    writers : (N,) the writer of each trial's references.
    n : the number of trials that the figure counts.
    questioned : (N,) who wrote the questioned signature, if not all are the references' writers.
    signatures : of an error rate, how many questioned signatures it counts. Where none was in
        error, the upper end is at least 3 / signatures, the rule of three (Hanley and
        Lippman-Hand 1983): their pairs with several references say little more than one.
    """
    names, member = np.unique(
        np.concatenate([writers, writers if questioned is None else questioned]),
        return_inverse=True,
    )
    reference, other = member[: len(writers)], member[len(writers) :]
    value = float(statistic(np.ones((1, len(writers))))[0])
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    for _ in range(0, resamples, 100):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=100)
        weights = counts[:, reference]
        if questioned is not None:
            weights = weights * np.where(other == reference, 1, counts[:, other])
        drawn.append(statistic(weights.astype(np.float64)))
    low, high = np.nanpercentile(np.concatenate(drawn)[:resamples], [2.5, 97.5])
    if signatures and value == 0:
        high = max(high, min(1.0, 3.0 / signatures))
    return Estimate(value, float(min(low, value)), float(max(high, value)), n, len(names))
