"""Threshold and calibration from a site's own few labelled claims; the network stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.calibration import Calibration, CalibrationError, calibrate
from siamese.claims import Claim
from siamese.config import PolicySettings
from siamese.errors import InputError
from siamese.feedback import LABELS
from siamese.imaging import USABLE
from siamese.metrics import Estimate, bootstrap_over_writers, false_accept_rate, false_reject_rate
from siamese.record import Record
from siamese.scoring import Batch
from siamese.trials import Trials, fuse, spread_of
from siamese.verifier import Verifier

#: Fewest labelled claims of each kind that anything is fitted on.
FEWEST = 10
_LABEL = "label"


@dataclass(frozen=True)
class Recalibrated:
    """The verifier with its new calibration, and figures of the policy before and after.

    after : each writer's claims decided by thresholds that were fitted without them.
    """

    verifier: Verifier
    claims: int
    before: dict[str, Estimate]
    after: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Without the verifier."""
        return {
            "claims": self.claims,
            **{
                when: {name: vars(figure) for name, figure in figures.items()}
                for when, figures in (("before", self.before), ("after", self.after))
            },
        }


def label_of(claim: Claim) -> str:
    """What a labelled claim says it is.

    Raises
    ------
    InputError : it says neither genuine nor forged.
    """
    label = claim.further.get(_LABEL, "").strip()
    if label not in LABELS:
        raise InputError(
            f"Claim {claim.claim_id!r} is not labelled: its column {_LABEL} has {label!r}, and "
            f"takes {' or '.join(LABELS)}."
        )
    return label


def labelled_trials(
    claims: Sequence[Claim], known: pd.DataFrame, batch: Batch, counts: Sequence[int]
) -> tuple[Trials, ...]:
    """Trials by number of references, for those numbers that enough claims have.

    With one reference each pair is a trial; with several, each claim's first ones are.

    Parameters
    ----------
    known : quality and embedding by image id, as :func:`siamese.scoring.facts_of` gives them.
    counts : numbers of references, ascending, the first of them 1.
    """
    rows: list[dict[str, object]] = []
    for claim in claims:
        if claim.problem or claim.questioned is None:
            continue
        asked = known.loc[batch.hashes[claim.questioned]]
        ids = list(dict.fromkeys([*(batch.hashes[p] for p in claim.references), *claim.enrolled]))
        ids = [i for i in ids if known.loc[i, "quality"] in USABLE]
        if asked["quality"] not in USABLE or not ids:
            continue
        common = {
            "kind": "genuine" if label_of(claim) == "genuine" else "skilled_forgery",
            "writer": claim.further.get("writer_id", "").strip() or min(ids),
            "questioned": str(asked.name),
        }
        references = np.stack(known.loc[ids, "embedding"].tolist())
        gaps = np.linalg.norm(references - asked["embedding"], axis=1).astype(np.float64)
        for n in counts:
            sets = [[i] for i in range(len(ids))] if n == 1 else [list(range(n))]
            for chosen in sets if n <= len(ids) else ():
                spread = spread_of(references[chosen])
                distance = float(fuse(gaps[chosen], spread))
                rows.append({**common, "n_references": n, "distance": distance, "spread": spread})
    table = pd.DataFrame(rows, columns=["n_references", *_FIELDS])
    made = [Trials.from_frame(mine) for _, mine in table.groupby("n_references")]
    return tuple(trials for trials in made if _enough(trials))


_FIELDS = ("distance", "kind", "writer", "questioned", "spread")


def _enough(trials: Trials) -> bool:
    kinds = ("genuine", "skilled_forgery")
    return all(len(set(trials.of(kind).questioned)) >= FEWEST for kind in kinds)


def recalibrate(
    verifier: Verifier,
    trials: Sequence[Trials],
    pictures: pd.DataFrame,
    policy: PolicySettings,
    seed: int,
) -> Recalibrated:
    """Fit likelihood ratio and thresholds anew, for each number of references there are trials of.

    Claims with more references than that are then decided by their mean distance.

    Parameters
    ----------
    trials : of :func:`labelled_trials`. pictures : ``writer`` and the
        :data:`siamese.record.STATISTICS` of the questioned signatures.

    Raises
    ------
    CalibrationError : there are too few, or the distance does not tell them apart.
    """
    if not trials or trials[0].n_references != 1:
        raise CalibrationError(
            f"Recalibration needs at least {FEWEST} genuine and {FEWEST} forged claims that can "
            "be compared."
        )
    single = trials[0]
    made = replace(
        verifier.under(policy),
        calibrations=tuple(calibrate(one, policy) for one in trials),
        record=Record(tuple(trials), (), pictures),
    )
    old = verifier.under(policy).calibration(1)
    return Recalibrated(
        made,
        len(set(single.questioned)),
        _figures(single, old.decide(single.distance), policy, seed),
        _figures(single, _each_left_out(single, policy, made.calibration(1)), policy, seed),
    )


def _each_left_out(
    trials: Trials, policy: PolicySettings, whole: Calibration
) -> npt.NDArray[np.str_]:
    """Decisions on each writer's trials by a calibration on the others'."""
    decisions = np.empty(len(trials.kind), dtype="<U10")
    for writer in np.unique(trials.writer):
        mine = trials.writer == writer
        try:
            fitted = calibrate(trials.take(np.flatnonzero(~mine)), policy)
        except CalibrationError:  # one writer holds all of a kind
            fitted = whole
        decisions[mine] = fitted.decide(trials.distance[mine])
    return decisions


def _figures(
    trials: Trials, decisions: npt.NDArray[np.str_], policy: PolicySettings, seed: int
) -> dict[str, Estimate]:
    accepted, passed = (decisions == "accept") * 1.0, (decisions != "reject") * 1.0
    between = decisions == "review"
    counts = {kind: int((trials.label == label).sum()) for kind, label in (("g", 1), ("f", 0))}

    def estimate(statistic: Any, n: int) -> Estimate:
        return bootstrap_over_writers(
            statistic, trials.writer, n=n, resamples=policy.bootstrap, seed=seed
        )

    return {
        "policy_far_skilled": estimate(
            lambda w: false_accept_rate(accepted, trials.label, 0.5, w), counts["f"]
        ),
        "policy_frr": estimate(
            lambda w: false_reject_rate(passed, trials.label, 0.5, w), counts["g"]
        ),
        "review": estimate(lambda w: (w * between).sum(-1) / w.sum(-1), len(decisions)),
    }
