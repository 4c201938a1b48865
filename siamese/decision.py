"""The decision on one claim, from how far apart its pictures' vectors lie, and their qualities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
#: Rows for :func:`gaps_between` where the questioned signature is not usable: no gaps.
NOT_USABLE: tuple[int, list[int]] = (0, [])

_NUMBERS = 2**22  # of vectors that are worked on at a time


class Gaps(NamedTuple):
    """How far apart the vectors of one claim lie.

    to_references : (R,) from the questioned signature to each usable reference. spread : of the
    references, see :func:`siamese.trials.spread_of`.
    """

    to_references: npt.NDArray[np.float64]
    spread: float

    def stretched(self, by: float) -> Gaps:
        """Both times what :func:`siamese.stretch.stretch` tells."""
        return Gaps(np.minimum(self.to_references * by, FARTHEST), self.spread * by)


def gaps_between(
    vectors: npt.NDArray[np.float32], claims: Sequence[tuple[int, Sequence[int]]]
) -> list[Gaps]:
    """The gaps of each claim; those with as many references are worked out together.

    Parameters
    ----------
    vectors : (N, E). claims : rows of the questioned signature and of its usable references.
    """
    found = [Gaps(np.zeros(0), 0.0)] * len(claims)
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for place, (_, references) in enumerate(claims):
        alike[len(references)].append(place)
    alike.pop(0, None)
    for count, places in alike.items():
        at_once = max(_NUMBERS // (count**2 * vectors.shape[1]), 1)
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            asked = vectors[[claims[place][0] for place in some]]
            known = vectors[[list(claims[place][1]) for place in some]]
            gaps = np.linalg.norm(known - asked[:, None], axis=2).astype(np.float64)
            for place, one, spread in zip(some, gaps, spread_of(known).tolist(), strict=True):
                found[place] = Gaps(one, spread)
    return found


def decide(
    verifier: Verifier,
    gaps: Gaps,
    *,
    qualities: tuple[str, ...],
    details: tuple[str, ...],
    copies: list[bool],
    usable: list[int],
) -> Comparison:
    """The decision on one questioned signature.

    Parameters
    ----------
    gaps : to the usable references only; not looked at where the questioned one is not usable.
    qualities, details : of the questioned signature, then of every reference given.
    copies : (R,) whether the questioned picture repeats that reference.
    usable : (R,) place of each among all references given.
    """
    if qualities[0] not in imaging.USABLE:
        return Comparison("unusable", f"questioned_{qualities[0]}", f"Questioned: {details[0]}")
    if not usable:
        named = next(iter(qualities[1:]), "missing")
        told = next(iter(details[1:]), "There is none.")
        return Comparison("unusable", f"reference_{named}", f"No usable reference. {told}")
    distances, spread = gaps
    closest = usable[int(distances.argmin())]
    calibration = verifier.calibration(len(usable))
    # Where only single references were calibrated, the mean keeps to that calibration's side.
    distance = float(fuse(distances, spread if calibration.n_references > 1 else 0.0))
    log10_lr = float(calibration.log10_lr(np.array(distance)))
    probability = float(p_genuine(np.array(log10_lr), verifier.policy.prior))
    decision = str(calibration.decide(np.array(distance)))
    reason, told = _reason(decision, verifier.policy)
    if any(copies):
        decision, reason = "review", "pasted"
        told = "The questioned picture is a copy of a reference; nobody signs the same way twice."
    elif decision == "accept" and calibration.disagree(spread):
        decision, reason = "review", "references_disagree"
        told = "The references differ more than one writer's do; are they all by one person? Check."
    elif decision == "accept" and (faulty := _first_fault(qualities, usable)) is not None:
        side = "questioned" if faulty == 0 else "reference"
        decision, reason = "review", f"{side}_{qualities[faulty]}"
        told = f"Close enough to accept, but look at the pictures. {details[faulty]}"
    return Comparison(decision, reason, told, distance, log10_lr, probability, closest)


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
