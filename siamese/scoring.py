"""Bulk scoring: a list of claims in, one decision a claim out, each picture embedded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.claims import Claim, Picture
from siamese.config import ScoringSettings
from siamese.imaging import USABLE
from siamese.preparing import Progress, canvas_store, prepare_files
from siamese.store import ContentStore, embedding_schema, stack_canvases
from siamese.verifier import Comparison, Verifier, copies_of, decide


def embedding_store(folder: Path, verifier: Verifier) -> ContentStore:
    """The store of this verifier's vectors, below ``folder``."""
    length = verifier.network_settings.embedding
    return ContentStore(
        folder / "embeddings" / verifier.embedding_fingerprint, embedding_schema(length)
    )


def score_claims(
    claims: Sequence[Claim],
    hashes: Mapping[Picture, str],
    verifier: Verifier,
    store: Path,
    settings: ScoringSettings,
    *,
    root: Path,
    model_version: str,
    scored_at: datetime,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Decide on every claim.

    Works shard by shard; what a shard computes is in the store before the next begins, so a
    killed run goes on where it was.

    Parameters
    ----------
    hashes : id of every picture that the claims name.
    store : folder of canvases and vectors, shared by all runs.
    root : the claims folder; paths in the table are relative to it.
    model_version : as it shall stand in the table.

    Returns
    -------
    A decisions table, one row a claim in the order given, with further columns at the end.
    """
    rows: list[dict[str, object]] = []
    # Naming a store hashes the weights and the code: once a run, not once a shard.
    canvases = canvas_store(store, verifier.imaging_settings)
    vectors = embedding_store(store, verifier)
    for start in range(0, len(claims), settings.shard):
        shard = claims[start : start + settings.shard]
        known = _facts_of(shard, hashes, verifier, canvases, vectors, settings)
        for claim in shard:
            comparison, qualities = _decide(claim, hashes, known, verifier)
            rows.append(
                _row(claim, comparison, qualities, verifier, root, model_version, scored_at)
            )
        progress(len(rows), len(claims))
    return pd.DataFrame(rows)


def _facts_of(
    shard: Sequence[Claim],
    hashes: Mapping[Picture, str],
    verifier: Verifier,
    canvases: ContentStore,
    vectors: ContentStore,
    settings: ScoringSettings,
) -> pd.DataFrame:
    """Quality, hash and vector of each picture of a shard, by image id."""
    files = [(hashes[p], p.path, p.page) for claim in shard for p in claim.pictures]
    facts = prepare_files(files, verifier.imaging_settings, canvases, workers=settings.workers)
    ids = [file[0] for file in files]
    done = set(vectors.get(ids).index)
    todo = facts[facts["quality"].isin(USABLE) & ~facts.index.isin(done)]
    size = verifier.imaging_settings
    for start in range(0, len(todo), settings.batch):
        part = todo.iloc[start : start + settings.batch]
        embedded = verifier.embed(stack_canvases(part, size.height, size.width))
        vectors.put(pd.DataFrame({"image_id": part.index, "embedding": list(embedded)}))
    return facts.drop(columns="canvas").join(vectors.get(ids))


def _decide(
    claim: Claim, hashes: Mapping[Picture, str], known: pd.DataFrame, verifier: Verifier
) -> tuple[Comparison, tuple[str, ...]]:
    if claim.problem:
        return Comparison("unusable", claim.problem, claim.detail), ("", "")
    facts = [known.loc[hashes[picture]] for picture in claim.pictures]
    asked, references = facts[0], facts[1:]
    usable = [i for i, reference in enumerate(references) if reference["quality"] in USABLE]
    qualities = tuple(str(fact["quality"]) for fact in facts)
    length = verifier.network_settings.embedding
    comparison = decide(
        verifier,
        asked["embedding"] if qualities[0] in USABLE else np.zeros(length, np.float32),
        np.stack([references[i]["embedding"] for i in usable])
        if usable
        else np.zeros((0, length), np.float32),
        qualities=qualities,
        details=tuple(str(fact["quality_detail"]) for fact in facts),
        copies=copies_of(
            str(asked["perceptual_hash"]), [str(references[i]["perceptual_hash"]) for i in usable]
        )
        if qualities[0] in USABLE
        else [],
        usable=usable,
    )
    return comparison, qualities


def _row(
    claim: Claim,
    comparison: Comparison,
    qualities: tuple[str, ...],
    verifier: Verifier,
    root: Path,
    model_version: str,
    scored_at: datetime,
) -> dict[str, object]:
    closest = (
        claim.references[comparison.closest_reference]
        if comparison.closest_reference >= 0
        else None
    )
    scored = comparison.decision != "unusable"
    policy = verifier.policy
    worst = next((q for q in qualities[1:] if q != "ok"), "ok" if claim.references else "")
    return {
        "claim_id": claim.claim_id,
        "decision": comparison.decision,
        "reason": comparison.reason,
        "reason_detail": " ".join(filter(None, (comparison.detail, claim.detail)))
        if not claim.problem
        else claim.detail,
        "distance": comparison.distance if scored else None,
        "p_genuine": comparison.p_genuine if scored else None,
        "log10_lr": comparison.log10_lr if scored else None,
        "n_references": sum(q in USABLE for q in qualities[1:]) if claim.references else 0,
        "closest_reference": closest.name(root) if closest else "",
        "questioned": claim.questioned.name(root) if claim.questioned else "",
        "questioned_quality": qualities[0],
        "reference_quality": worst,
        "model_version": model_version,
        "threshold_policy": (
            f"FAR_skilled<={policy.max_far_skilled:g} FRR<={policy.max_frr:g} "
            f"prior={policy.prior:g}"
        ),
        "scored_at": scored_at,
        **claim.further,
    }
