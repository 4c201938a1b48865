"""Threshold and calibration from a site's own few labelled claims; the network stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.calibration import CalibrationError, calibrate
from siamese.claims import Claim
from siamese.config import PolicySettings
from siamese.copies import copies_of
from siamese.errors import InputError
from siamese.evaluation import decision_figures, policy_figures
from siamese.feedback import LABELS, writers_of
from siamese.imaging import USABLE
from siamese.intervals import Estimate
from siamese.pictures import Picture
from siamese.record import Record
from siamese.stretch import stretch
from siamese.trials import Trials, fuse, spread_of
from siamese.verifier import Verifier

#: Fewest labelled claims of each kind that anything is fitted on.
FEWEST = 10
_LABEL = "label"
_TRIAL = ["n_references", "distance", "kind", "writer", "questioned", "spread"]


@dataclass(frozen=True)
class Recalibrated:
    """The verifier with its new calibration, and figures of the policy before and after.

    after : each writer's claims decided by thresholds that were fitted without them; empty where
    nothing can be fitted without one of them.
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
    """What a labelled claim says it is; empty for one without a label.

    Raises
    ------
    InputError : its label is another word.
    """
    label = claim.further.get(_LABEL, "").strip().lower()
    if label not in ("", *LABELS):
        raise InputError(
            f"Claim {claim.claim_id!r}: the column {_LABEL} has {label!r}, and takes "
            f"{' or '.join(LABELS)}."
        )
    return label


def labelled_trials(
    claims: Sequence[Claim],
    known: pd.DataFrame,
    hashes: Mapping[Picture, str],
    counts: Sequence[int],
) -> tuple[tuple[Trials, ...], dict[str, str]]:
    """Trials by number of references, for those numbers that enough claims have.

    Each claim is one trial, with its first references: pairs of one questioned signature would
    say less than their number.

    Parameters
    ----------
    known : quality and embedding by image id, as :func:`siamese.scoring.with_vectors` gives them.
    counts : numbers of references, ascending, the first of them 1.

    Returns
    -------
    The trials, and for each claim that could not be used the reason.
    """
    left_out: dict[str, str] = {}
    used: dict[str, tuple[Claim, pd.Series, pd.DataFrame]] = {}
    for claim in claims:
        if claim.problem or claim.questioned is None:
            left_out[claim.claim_id] = f"{claim.problem}. {claim.detail}"
            continue
        asked = known.loc[hashes[claim.questioned]]
        ids = dict.fromkeys([*(hashes[p] for p in claim.references), *claim.enrolled])
        references = known.loc[list(ids)]
        references = references[references["quality"].isin(USABLE)]
        if asked["quality"] not in USABLE or references.empty:
            left_out[claim.claim_id] = f"No usable pair. {asked['quality_detail']}".strip()
        elif not label_of(claim):
            left_out[claim.claim_id] = "It has no label."
        elif any(copies_of(asked["perceptual_hash"], references["perceptual_hash"].tolist())):
            # Such a claim is decided by the copy, whatever the thresholds.
            left_out[claim.claim_id] = "Its questioned picture is a copy of a reference."
        else:
            used[claim.claim_id] = (claim, asked, references)
    writers = writers_of(
        {name: (c.writer, references.index.tolist()) for name, (c, _, references) in used.items()}
    )
    rows: list[dict[str, object]] = []
    for name, (claim, asked, found) in used.items():
        vectors = np.stack(found["embedding"].tolist())
        gaps = np.linalg.norm(vectors - asked["embedding"], axis=1).astype(np.float64)
        for n in (count for count in counts if count <= len(vectors)):
            spread = float(spread_of(vectors[:n]))
            rows.append(
                {
                    "n_references": n,
                    "distance": float(fuse(gaps[:n], spread)),
                    "kind": "genuine" if label_of(claim) == "genuine" else "skilled_forgery",
                    "writer": writers[name],
                    "questioned": str(asked.name),
                    "spread": spread,
                }
            )
    table = pd.DataFrame(rows, columns=_TRIAL)
    made = [Trials.from_frame(mine) for _, mine in table.groupby("n_references")]
    return tuple(trials for trials in made if _enough(trials)), left_out


def _enough(trials: Trials) -> bool:
    return all(len(trials.of(kind).kind) >= FEWEST for kind in ("genuine", "skilled_forgery"))


def recalibrate(
    verifier: Verifier,
    trials: Sequence[Trials],
    near: float,
    pictures: pd.DataFrame,
    policy: PolicySettings,
    seed: int,
) -> Recalibrated:
    """Fit likelihood ratio and thresholds anew, for each number of references there are trials of.

    Claims with more references than that are then decided by their mean distance. Distances are
    not stretched any more: the thresholds are the site's own.

    Parameters
    ----------
    trials : of :func:`labelled_trials`. near : :func:`siamese.scoring.near_references` of the
        same claims, by which they were stretched before. pictures : ``writer`` and the
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
    single, *fused = trials
    fitted = [(single, calibrate(single, policy))]
    for one in fused:
        with suppress(CalibrationError):  # what single references tell is not lost for it
            fitted.append((one, calibrate(one, policy)))
    made = replace(
        verifier.under(policy),
        calibrations=tuple(calibration for _, calibration in fitted),
        record=Record(tuple(one for one, _ in fitted), (), pictures),
        near_hands=0.0,
    )
    held_out = _each_left_out(single, policy)
    old = verifier.under(policy).calibration(1)
    return Recalibrated(
        made,
        len(single.kind),
        policy_figures(single.stretched(stretch(near, verifier.near_hands)), old, policy, seed),
        {} if held_out is None else decision_figures(single, held_out, policy, seed),
    )


def _each_left_out(trials: Trials, policy: PolicySettings) -> npt.NDArray[np.str_] | None:
    """Decisions on each writer's trials by a calibration on the others'; None where that fails."""
    decisions = np.empty(len(trials.kind), dtype="<U10")
    for writer in np.unique(trials.writer):
        mine = trials.writer == writer
        try:
            fitted = calibrate(trials.take(np.flatnonzero(~mine)), policy)
        except CalibrationError:
            return None
        decisions[mine] = fitted.decide(trials.distance[mine])
    return decisions
