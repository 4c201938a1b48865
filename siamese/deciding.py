"""Decisions on many claims at once, as rows of the decisions table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.claims import Claim
from siamese.config import PolicySettings
from siamese.copies import copies_of
from siamese.decision import NOT_USABLE, Comparison, Standing, decide, standings
from siamese.imaging import USABLE
from siamese.pictures import Picture
from siamese.tiers import Tiers
from siamese.verifier import Verifier

#: Begins the name of a reference that was enrolled, in ``closest_reference``.
ENROLLED = "enrolled:"


class _Fact(NamedTuple):
    """What is known of one picture; ``row`` is that of its vector, or -1."""

    image_id: str
    quality: str
    detail: str
    perceptual_hash: str
    row: int


class _Shown(NamedTuple):
    """A claim's pictures: the questioned one, where the claim can be scored, and its references."""

    asked: _Fact | None
    references: Sequence[_Fact]

    @property
    def rows(self) -> tuple[int, list[int]]:
        if self.asked is None or self.asked.row < 0:
            return NOT_USABLE
        return self.asked.row, [one.row for one in self.references if one.row >= 0]


def decided(
    claims: Sequence[Claim],
    ids: Mapping[Picture, str],
    facts: pd.DataFrame,
    tiers: Tiers,
    root: Path,
    names: Mapping[tuple[str, str], str],
    stretch: float,
) -> list[dict[str, object]]:
    """A row of the decisions table for each claim, but for what is the same of all.

    Parameters
    ----------
    ids : of the claims' pictures. facts : as :func:`siamese.scoring.with_vectors` gives them, of
    all these pictures. root : where the names of pictures start. names : of enrolled references,
    by writer and id. stretch : of all distances, see :mod:`siamese.stretch`.
    """
    known, vectors = _by_id(facts)
    shown = [_shown(claim, ids, known) for claim in claims]
    chosen = [tiers.choose(claim.further) for claim in claims]
    verifiers = [verifier for verifier, _ in chosen]
    stand = standings(vectors, [pictures.rows for pictures in shown], verifiers, stretch)
    return [
        _row(*of_claim, ids, root, names)
        for of_claim in zip(claims, shown, stand, chosen, strict=True)
    ]


def _by_id(facts: pd.DataFrame) -> tuple[dict[str, _Fact], npt.NDArray[np.float32]]:
    """The facts, and the vectors (N, E) that their rows are of."""
    has = np.array([np.ndim(vector) == 1 for vector in facts["embedding"]], bool)
    rows = np.where(has, np.cumsum(has) - 1, -1).tolist()
    names = ("quality", "quality_detail", "perceptual_hash")
    columns = (facts[name].tolist() for name in names)
    known = {
        fact[0]: _Fact(*fact) for fact in zip(facts.index.tolist(), *columns, rows, strict=True)
    }
    vectors = facts["embedding"][has].tolist()
    return known, np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _shown(claim: Claim, ids: Mapping[Picture, str], known: Mapping[str, _Fact]) -> _Shown:
    if claim.problem or not claim.questioned:
        return _Shown(None, ())
    named = (ids[picture] for picture in claim.references)
    references = [known[one] for one in dict.fromkeys([*named, *claim.enrolled])]
    return _Shown(known[ids[claim.questioned]], references)


def _row(
    claim: Claim,
    pictures: _Shown,
    standing: Standing | None,
    chosen: tuple[Verifier, str],
    ids: Mapping[Picture, str],
    root: Path,
    names: Mapping[tuple[str, str], str],
) -> dict[str, object]:
    verifier, notice = chosen
    asked, references = pictures
    comparison = Comparison("unusable", claim.problem, claim.detail)
    if asked:
        comparison = _compared(asked, references, standing, verifier.policy)
    told = (comparison.detail, "" if claim.problem else claim.detail, notice)
    place = comparison.closest_reference
    closest = references[place].image_id if place >= 0 else ""
    scored = comparison.decision != "unusable"
    qualities = [reference.quality for reference in references]
    return {
        "claim_id": claim.claim_id,
        "decision": comparison.decision,
        "reason": comparison.reason,
        "reason_detail": " ".join(filter(None, told)),
        "distance": comparison.distance if scored else None,
        "p_genuine": comparison.p_genuine if scored else None,
        "log10_lr": comparison.log10_lr if scored else None,
        "n_references": sum(quality in USABLE for quality in qualities),
        "closest_reference": _name(closest, claim, ids, root, names) if closest else "",
        "questioned": claim.questioned.name(root) if claim.questioned else "",
        "questioned_quality": asked.quality if asked else "",
        "reference_quality": next((q for q in qualities if q != "ok"), "ok" if qualities else ""),
        "questioned_id": asked.image_id if asked else "",
        "closest_reference_id": closest,
        "threshold_policy": str(verifier.policy),
        **claim.further,
    }


def _compared(
    asked: _Fact,
    references: Sequence[_Fact],
    standing: Standing | None,
    policy: PolicySettings,
) -> Comparison:
    usable = [place for place, one in enumerate(references) if one.row >= 0]
    hashes = [references[place].perceptual_hash for place in usable]
    return decide(
        policy,
        standing,
        qualities=(asked.quality, *(one.quality for one in references)),
        details=(asked.detail, *(one.detail for one in references)),
        copies=copies_of(asked.perceptual_hash, hashes) if asked.row >= 0 else [],
        usable=usable,
    )


def _name(
    image_id: str,
    claim: Claim,
    ids: Mapping[Picture, str],
    root: Path,
    names: Mapping[tuple[str, str], str],
) -> str:
    """A reference's file, or the name that it was enrolled by."""
    for picture in claim.references:
        if ids[picture] == image_id:
            return picture.name(root)
    return f"{ENROLLED}{names[claim.writer, image_id]}"
