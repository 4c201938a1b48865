"""Figures on test writers, who are touched once, here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from siamese.calibration import Calibration
from siamese.config import PolicySettings
from siamese.intervals import Estimate, bootstrap_over_writers
from siamese.metrics import (
    auc,
    cllr,
    cllr_min,
    eer,
    false_accept_rate,
    false_reject_rate,
)
from siamese.tables import PAIR_KINDS as KINDS
from siamese.trials import Trials

Floats = npt.NDArray[np.float64]
#: A figure of some trials under weights (B, N), giving (B,).
Statistic = Callable[[Trials, Floats], Floats]


@dataclass(frozen=True)
class Evaluation:
    """All figures of one kind of trial (with one number of references), each an interval."""

    n_references: int
    writers: int
    pairs: dict[str, int]
    figures: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Evaluation:
        figures = {name: Estimate(**value) for name, value in data["figures"].items()}
        return Evaluation(data["n_references"], data["writers"], data["pairs"], figures)


def evaluate(
    trials: Trials, calibration: Calibration, policy: PolicySettings, seed: int
) -> Evaluation:
    """Every figure of the protocol on test trials, at thresholds frozen on calibration writers.

    Returns
    -------
    Figures by name: ``eer_skilled``, ``eer_random``; at the frozen threshold ``far_skilled``,
    ``far_random``, ``far_mixed``, ``frr``; at the policy ``policy_far_skilled``,
    ``policy_far_random`` (accepted forgeries), ``policy_frr`` (rejected genuine) and ``review``
    (share of genuine and skilled); ``auc_skilled``, ``auc_random``, ``auc_mixed``; ``cllr``,
    ``cllr_min``. Of mixed ones skilled and random weigh the same.
    """
    skilled, random, mixed = *_against(trials), _balanced(trials, seed)
    rows: list[_Figure] = []
    for name, of in (("skilled", skilled), ("random", random)):
        rows += [
            _Figure(f"eer_{name}", of, _eer, KINDS),
            _Figure(f"auc_{name}", of, _auc, KINDS, rate=False),
            _Figure(f"far_{name}", of, _far(calibration.threshold), (f"{name}_forgery",)),
        ]
    rows += [
        _Figure("frr", skilled, _frr(calibration.threshold), ("genuine",)),
        _Figure("auc_mixed", mixed, _auc, KINDS, rate=False),
        _Figure("far_mixed", mixed, _far(calibration.threshold), KINDS[1:]),
        _Figure("cllr", mixed, _cllr(calibration), KINDS, rate=False),
        _Figure("cllr_min", mixed, _cllr_min, KINDS, rate=False),
    ]
    figures = _estimates(rows, policy, seed) | policy_figures(trials, calibration, policy, seed)
    counts = {kind: distinct(trials.of(kind)) for kind in KINDS}
    return Evaluation(trials.n_references, len(np.unique(trials.writer)), counts, figures)


def policy_figures(
    trials: Trials, calibration: Calibration, policy: PolicySettings, seed: int
) -> dict[str, Estimate]:
    """What the policy's thresholds do: the ``policy_…`` figures of :func:`evaluate`, and review."""
    return decision_figures(trials, calibration.decide(trials.distance), policy, seed)


def decision_figures(
    trials: Trials, decisions: npt.NDArray[np.str_], policy: PolicySettings, seed: int
) -> dict[str, Estimate]:
    """The same figures of decisions, however each was made.

    Parameters
    ----------
    decisions : (N,) accept, review or reject.
    """
    # In place of the distance, how far from accepted: 0 accept, 1 review, 2 reject.
    places = np.select([decisions == "accept", decisions == "review"], [0.0, 1.0], 2.0)
    skilled, random = _against(replace(trials, distance=places))
    rows = [
        _Figure("policy_far_skilled", skilled, _far(0.0), ("skilled_forgery",)),
        _Figure("policy_far_random", random, _far(0.0), ("random_forgery",)),
        _Figure("policy_frr", skilled, _frr(1.0), ("genuine",)),
        _Figure("review", skilled, _review, KINDS),
    ]
    return _estimates(rows, policy, seed)


def _against(trials: Trials) -> tuple[Trials, Trials]:
    """Genuine with skilled forgeries, and with random ones."""
    return trials.of("genuine", "skilled_forgery"), trials.of("genuine", "random_forgery")


@dataclass(frozen=True)
class _Figure:
    """A statistic of some trials, that counts those of some kinds."""

    name: str
    of: Trials
    statistic: Statistic
    kinds: tuple[str, ...]
    rate: bool = True


def _estimates(rows: list[_Figure], policy: PolicySettings, seed: int) -> dict[str, Estimate]:
    """Each figure with its interval; those that would count nothing are left out."""
    return {
        row.name: bootstrap_over_writers(
            lambda weights, row=row: row.statistic(row.of, weights),  # type: ignore[misc]
            row.of.writer,
            questioned=row.of.questioned_writer,
            n=n,
            resamples=policy.bootstrap,
            seed=seed,
            signatures=_fewest_signatures(row.of.of(*row.kinds)) if row.rate else None,
        )
        for row in rows
        if (n := distinct(row.of.of(*row.kinds))) and len(np.unique(row.of.label)) == 2
    }


def distinct(trials: Trials) -> int:
    """How many comparisons these are: draws of other references for the same one count once.

    With one reference each pair is another; with several, each questioned signature is.
    """
    if trials.n_references == 1:
        return len(trials.kind)
    return len(set(zip(trials.writer.tolist(), trials.questioned.tolist(), strict=True)))


def _fewest_signatures(trials: Trials) -> int:
    """Questioned signatures of the kinds counted: of two that are held apart, the fewer.

    Forgeries of both kinds are one.
    """
    return min(len(np.unique(trials.questioned[trials.label == one])) for one in {*trials.label})


def _eer(trials: Trials, weights: Floats) -> Floats:
    return eer(-trials.distance, trials.label, weights)


def _auc(trials: Trials, weights: Floats) -> Floats:
    return auc(-trials.distance, trials.label, weights)


def _far(accept_at: float) -> Statistic:
    return lambda t, weights: false_accept_rate(-t.distance, t.label, -accept_at, weights)


def _frr(reject_at: float) -> Statistic:
    return lambda t, weights: false_reject_rate(-t.distance, t.label, -reject_at, weights)


def _review(trials: Trials, weights: Floats) -> Floats:
    """Of trials with places for distances, see :func:`decision_figures`."""
    with np.errstate(invalid="ignore"):
        return np.asarray((weights * (trials.distance == 1.0)).sum(-1) / weights.sum(-1))


def _cllr(calibration: Calibration) -> Statistic:
    return lambda t, weights: cllr(calibration.log10_lr(t.distance), t.label, weights)


def _cllr_min(trials: Trials, weights: Floats) -> Floats:
    """A resample repeats writers' trials as often as they were drawn."""
    values = []
    for row in weights:
        rows = np.repeat(np.arange(len(row)), row.astype(np.int64))
        one = trials.take(rows)
        enough = len(np.unique(one.label)) == 2
        values.append(cllr_min(-one.distance, one.label) if enough else np.nan)
    return np.array(values)


def _balanced(trials: Trials, seed: int) -> Trials:
    """All genuine trials, with skilled and random forgeries in equal number."""
    rng = np.random.default_rng((seed, 7))
    forged = [found for kind in KINDS[1:] if len(found := np.flatnonzero(trials.kind == kind))]
    size = min((len(found) for found in forged), default=0)
    rows = [np.flatnonzero(trials.kind == "genuine")]
    rows += [rng.permutation(found)[:size] for found in forged]
    return trials.take(np.sort(np.concatenate(rows)))


def lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """The main figures as sentences for a terminal."""
    told = []
    for one in evaluations:
        references = "1 reference" if one.n_references == 1 else f"{one.n_references} references"
        shown = [
            f"{title} {one.figures[name]}"
            for name, title in (
                ("eer_skilled", "EER_skilled"),
                ("eer_random", "EER_random"),
                ("policy_far_skilled", "FAR_skilled at policy"),
                ("policy_frr", "FRR at policy"),
                ("review", "sent to review"),
            )
            if name in one.figures
        ]
        told.append(f"{one.writers} test writers, {references}: " + ", ".join(shown))
    return told
