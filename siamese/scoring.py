"""Bulk scoring: a list of claims in, one decision a claim out, each picture embedded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from siamese.claims import Claim, claim_fingerprint
from siamese.config import ScoringSettings
from siamese.decision import Comparison, copies_of, decide
from siamese.enrolment import Enrolment
from siamese.files import fingerprint
from siamese.imaging import USABLE
from siamese.pictures import Picture
from siamese.preparing import File, Progress, canvas_store, prepare_files
from siamese.store import ContentStore, embedding_schema, stack_canvases
from siamese.tables import CLAIM_DECISIONS, TableError
from siamese.tiers import Tiers
from siamese.verifier import Verifier

#: Begins the name of a reference that was enrolled, in ``closest_reference``.
ENROLLED = "enrolled:"


@dataclass(frozen=True)
class Stores:
    """What is kept between runs: canvases and vectors."""

    canvases: ContentStore
    vectors: ContentStore

    @staticmethod
    def of(verifier: Verifier, folder: Path) -> Stores:
        """Those of this verifier's way of making canvases and vectors, below a folder."""
        # Naming a store hashes the weights and the code: once a run, not once a shard.
        vectors = folder / "embeddings" / verifier.embedding_fingerprint
        return Stores(
            canvas_store(folder, verifier.imaging_settings),
            ContentStore(vectors, embedding_schema(verifier.network_settings.length)),
        )


@dataclass(frozen=True)
class Batch:
    """What one run of scoring has in common.

    root : the claims folder; paths in the table are relative to it. hashes : id of every
    picture that the claims name. enrolment : where enrolled references are. store : folder of
    canvases and vectors, shared by all runs. ledger : folder of this run's finished shards.
    model_version, scored_at : as they shall stand in the table.
    """

    root: Path
    hashes: Mapping[Picture, str]
    enrolment: Enrolment
    store: Path
    ledger: Path
    model_version: str
    scored_at: datetime


def score_claims(
    claims: Sequence[Claim],
    batch: Batch,
    verifier: Verifier,
    settings: ScoringSettings,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Decide on every claim, by the verifier's policy.

    Works shard by shard. A finished shard is in the ledger before the next begins, and is read
    from there when a killed run is started again; the result is the same to the last bit.

    Returns
    -------
    A decisions table, one row a claim in the order given, with further columns at the end.
    """
    tiers = Tiers.of(verifier)
    stores = Stores.of(verifier, batch.store)
    shards = [claims[i : i + settings.shard] for i in range(0, len(claims), settings.shard)]
    names = batch.enrolment.names
    tables: list[pd.DataFrame] = []
    done = 0
    for number, shard in enumerate(shards):
        entry = _entry(batch, number, shard)
        table = _read_whole(entry)
        if table is None:
            known = facts_of(shard, batch.hashes, batch.enrolment, verifier, stores, settings)
            rows = [_decided(claim, known, batch, tiers, names) for claim in shard]
            CLAIM_DECISIONS.write(pd.DataFrame(rows), entry, {})
            table = CLAIM_DECISIONS.read(entry)
        tables.append(table)
        done += len(shard)
        progress(done, len(claims))
    return pd.concat(tables, ignore_index=True)


def _entry(batch: Batch, number: int, shard: Sequence[Claim]) -> Path:
    """A shard's file in the ledger, named by all that its decisions follow from."""
    name = fingerprint([claim_fingerprint(claim, batch.hashes, batch.root) for claim in shard])
    return batch.ledger / f"{number:06d}-{name}.parquet"


def _read_whole(entry: Path) -> pd.DataFrame | None:
    """A finished shard; None where there is none, or it is damaged."""
    try:
        return CLAIM_DECISIONS.read(entry)
    except (OSError, pa.ArrowException, TableError):
        return None


def facts_of(
    claims: Sequence[Claim],
    hashes: Mapping[Picture, str],
    enrolment: Enrolment,
    verifier: Verifier,
    stores: Stores,
    settings: ScoringSettings,
) -> pd.DataFrame:
    """Quality, hash and vector of each picture and enrolled reference of some claims.

    Indexed by image id; ``embedding`` is missing where the quality is not usable.
    """
    kept = enrolment.files
    files: dict[str, File] = {
        image_id: (image_id, kept[image_id]) for claim in claims for image_id in claim.enrolled
    }
    files |= {hashes[p]: (hashes[p], p.path, p.page) for claim in claims for p in claim.pictures}
    size = verifier.imaging_settings
    facts = prepare_files(list(files.values()), size, stores.canvases, workers=settings.workers)
    done = set(stores.vectors.get(facts.index.tolist()).index)
    todo = facts[facts["quality"].isin(USABLE) & ~facts.index.isin(done)]
    for start in range(0, len(todo), settings.batch):
        part = todo.iloc[start : start + settings.batch]
        embedded = verifier.embed(stack_canvases(part, size.height, size.width))
        stores.vectors.put(pd.DataFrame({"image_id": part.index, "embedding": list(embedded)}))
    return facts.drop(columns="canvas").join(stores.vectors.get(facts.index.tolist()))


def _decided(
    claim: Claim,
    known: pd.DataFrame,
    batch: Batch,
    tiers: Tiers,
    names: Mapping[tuple[str, str], str],
) -> dict[str, object]:
    """The claim's row."""
    verifier, notice = tiers.choose(claim.further)
    asked, references = None, pd.DataFrame()
    comparison = Comparison("unusable", claim.problem, claim.detail)
    if not claim.problem and claim.questioned:
        asked = known.loc[batch.hashes[claim.questioned]]
        named = [batch.hashes[picture] for picture in claim.references]
        references = known.loc[list(dict.fromkeys([*named, *claim.enrolled]))]
        comparison = _compared(asked, references, verifier)
    told = (comparison.detail, "" if claim.problem else claim.detail, notice)
    closest = None
    if comparison.closest_reference >= 0:
        closest = references.iloc[comparison.closest_reference]
    scored = comparison.decision != "unusable"
    qualities = [str(quality) for quality in references.get("quality", ())]
    return {
        "claim_id": claim.claim_id,
        "decision": comparison.decision,
        "reason": comparison.reason,
        "reason_detail": " ".join(filter(None, told)),
        "distance": comparison.distance if scored else None,
        "p_genuine": comparison.p_genuine if scored else None,
        "log10_lr": comparison.log10_lr if scored else None,
        "n_references": sum(quality in USABLE for quality in qualities),
        "closest_reference": _name(str(closest.name), claim, batch, names)
        if closest is not None
        else "",
        "questioned": claim.questioned.name(batch.root) if claim.questioned else "",
        "questioned_quality": str(asked["quality"]) if asked is not None else "",
        "reference_quality": next((q for q in qualities if q != "ok"), "ok" if qualities else ""),
        "questioned_id": str(asked.name) if asked is not None else "",
        "closest_reference_id": str(closest.name) if closest is not None else "",
        "model_version": batch.model_version,
        "threshold_policy": str(verifier.policy),
        "scored_at": batch.scored_at.replace(microsecond=0),
        **claim.further,
    }


def _compared(asked: pd.Series, references: pd.DataFrame, verifier: Verifier) -> Comparison:
    usable = np.flatnonzero(references["quality"].isin(USABLE))
    good = references.iloc[usable]
    length = verifier.network_settings.length
    none = np.zeros((0, length), np.float32)
    fine = asked["quality"] in USABLE
    return decide(
        verifier,
        asked["embedding"] if fine else np.zeros(length, np.float32),
        np.stack(good["embedding"].tolist()) if len(good) else none,
        qualities=(str(asked["quality"]), *references["quality"].astype(str)),
        details=(str(asked["quality_detail"]), *references["quality_detail"].astype(str)),
        copies=copies_of(str(asked["perceptual_hash"]), good["perceptual_hash"].tolist())
        if fine
        else [],
        usable=usable.tolist(),
    )


def _name(image_id: str, claim: Claim, batch: Batch, names: Mapping[tuple[str, str], str]) -> str:
    """A reference's file, or the name that it was enrolled by."""
    for picture in claim.references:
        if batch.hashes[picture] == image_id:
            return picture.name(batch.root)
    return f"{ENROLLED}{names[claim.writer, image_id]}"
