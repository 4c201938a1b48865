"""The decision on one claim, from how far apart its pictures' vectors lie, and their qualities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siamese import imaging
from siamese.calibration import p_genuine
from siamese.config import PolicySettings
from siamese.trials import FARTHEST, fuse, spread_of

if TYPE_CHECKING:
    from siamese.verifier import Verifier


@dataclass(frozen=True)
class Comparison:
    """One questioned signature against its references.

    ``decision`` is accept, review, reject or unusable; the rest is nan or empty when unusable.
    """

    decision: str
    reason: str
    detail: str
    distance: float = float("nan")
    log10_lr: float = float("nan")
    p_genuine: float = float("nan")
    closest_reference: int = -1

    def to_row(self) -> dict[str, Any]:
        """What is answered to one pair: all but the place of the closest reference."""
        return {name: value for name, value in asdict(self).items() if name != _PLACE}


_PLACE = "closest_reference"
#: Rows for :func:`standings` where the questioned signature is not usable: it has no standing.
NOT_USABLE: tuple[int, list[int]] = (0, [])

_NUMBERS = 2**22  # of vectors that are worked on at a time


class Standing(NamedTuple):
    """Where a questioned signature stands to its usable references, by their vectors alone.

    distance, log10_lr, p_genuine : as in :class:`Comparison`. decision : accept, review or
    reject, by the policy's two thresholds. disagree : whether the references are hardly one
    writer's. closest : place of the closest among the usable references.
    """

    distance: float
    log10_lr: float
    p_genuine: float
    decision: str
    disagree: bool
    closest: int


def standings(
    vectors: npt.NDArray[np.float32],
    claims: Sequence[tuple[int, Sequence[int]]],
    verifiers: Sequence[Verifier],
    by: float = 1.0,
) -> list[Standing | None]:
    """The standing of each claim; those with as many references are worked out together.

    Parameters
    ----------
    vectors : (N, E). claims : rows of the questioned signature and of its usable references.
    verifiers : the one that decides on each claim. by : what all distances are multiplied by,
    see :mod:`siamese.stretch`.

    Returns
    -------
    None where there is no usable reference.
    """
    found: list[Standing | None] = [None] * len(claims)
    alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for place, ((_, references), verifier) in enumerate(zip(claims, verifiers, strict=True)):
        if references:
            alike[len(references), id(verifier)].append(place)
    for (count, _), places in alike.items():
        at_once = max(_NUMBERS // (count**2 * vectors.shape[1]), 1)
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            asked = vectors[[claims[place][0] for place in some]]
            known = vectors[[list(claims[place][1]) for place in some]]
            for place, one in zip(some, _stand(asked, known, verifiers[some[0]], by), strict=True):
                found[place] = one
    return found


def _stand(
    asked: npt.NDArray[np.float32], known: npt.NDArray[np.float32], verifier: Verifier, by: float
) -> Iterator[Standing]:
    """Of questioned vectors (N, E) and those of as many references each, (N, R, E)."""
    calibration = verifier.calibration(known.shape[1])
    gaps = np.linalg.norm(known - asked[:, None], axis=2).astype(np.float64)
    spread = spread_of(known)
    # Where only single references were calibrated, the mean keeps to that calibration's side.
    fused = fuse(gaps, spread if calibration.n_references > 1 else 0.0)
    distance = np.clip(fused * by, 0.0, FARTHEST)
    log10_lr = calibration.log10_lr(distance)
    return map(
        Standing,
        distance.tolist(),
        log10_lr.tolist(),
        p_genuine(log10_lr, verifier.policy.prior).tolist(),
        calibration.decide(distance).tolist(),
        map(calibration.disagree, (spread * by).tolist()),
        gaps.argmin(1).tolist(),
    )


def decide(
    policy: PolicySettings,
    standing: Standing | None,
    *,
    qualities: tuple[str, ...],
    details: tuple[str, ...],
    copies: list[bool],
    usable: list[int],
) -> Comparison:
    """The decision on one questioned signature.

    Parameters
    ----------
    standing : to the usable references only, by this policy; not looked at where the questioned
        one is not usable.
    qualities, details : of the questioned signature, then of every reference given.
    copies : (R,) whether the questioned picture repeats that reference.
    usable : (R,) place of each among all references given.
    """
    if qualities[0] not in imaging.USABLE:
        return Comparison("unusable", f"questioned_{qualities[0]}", f"Questioned: {details[0]}")
    if standing is None:
        named = next(iter(qualities[1:]), "missing")
        told = next(iter(details[1:]), "There is none.")
        return Comparison("unusable", f"reference_{named}", f"No usable reference. {told}")
    decision = standing.decision
    reason, told = _reason(decision, policy)
    if any(copies):
        decision, reason = "review", "pasted"
        told = "The questioned picture is a copy of a reference; nobody signs the same way twice."
    elif decision == "accept" and standing.disagree:
        decision, reason = "review", "references_disagree"
        told = "The references differ more than one writer's do; are they all by one person? Check."
    elif decision == "accept" and (faulty := _first_fault(qualities, usable)) is not None:
        side = "questioned" if faulty == 0 else "reference"
        decision, reason = "review", f"{side}_{qualities[faulty]}"
        told = f"Close enough to accept, but look at the pictures. {details[faulty]}"
    return Comparison(
        decision,
        reason,
        told,
        standing.distance,
        standing.log10_lr,
        standing.p_genuine,
        usable[standing.closest],
    )


def _first_fault(qualities: tuple[str, ...], usable: list[int]) -> int | None:
    """Place among ``qualities`` of the first compared picture that is not ``ok``."""
    compared = (0, *(place + 1 for place in usable))
    return next((place for place in compared if qualities[place] != "ok"), None)


def _reason(decision: str, policy: PolicySettings) -> tuple[str, str]:
    if decision == "accept":
        return "close", (
            "Closer to the references than all but "
            f"{policy.max_far_skilled:.1%} of skilled forgeries in calibration."
        )
    if decision == "reject":
        return "far", (
            f"Farther from the references than all but {policy.max_frr:.1%} of genuine "
            "signatures in calibration."
        )
    return "between", "Between the two thresholds of the policy: a person should look."
