"""Bulk scoring: a list of claims in, one decision a claim out, each picture embedded once."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from siamese.canvases import File
from siamese.claims import Claim, claim_fingerprint, hash_claims
from siamese.config import ScoringSettings
from siamese.deciding import decided
from siamese.decoding import Decoders
from siamese.enrolment import Enrolment
from siamese.feedback import writers_of
from siamese.files import fingerprint
from siamese.imaging import USABLE
from siamese.memory import give_back_memory, leave_what_is_there
from siamese.pictures import Picture
from siamese.preparing import Progress, canvas_store, making, prepare_files, stored_canvases
from siamese.store import CANVAS_SCHEMA, ContentStore, embedding_schema
from siamese.stretch import near_hands, stretch
from siamese.tables import CLAIM_DECISIONS
from siamese.tiers import Tiers
from siamese.verifier import Verifier

_AT_ONCE = 512  # pictures that are embedded before their vectors are kept
_AHEAD = 3  # shards that are begun before one is decided on
_ASKED = 64  # claims whose references tell how near hands lie


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

    root : the claims folder; paths in the table are relative to it. enrolment : where enrolled
    references are. store : folder of canvases and vectors, shared by all runs. ledger : folder
    of this run's finished shards. model_version, scored_at : as they shall stand in the table.
    """

    root: Path
    enrolment: Enrolment
    store: Path
    ledger: Path
    model_version: str
    scored_at: datetime


class Scored(NamedTuple):
    """Claims that are being decided on.

    stretch : what all their distances are multiplied by: :mod:`siamese.stretch`. tables :
    decisions on some claims at a time, one row a claim in the order given, with further columns
    at the end.
    """

    stretch: float
    tables: Iterator[pd.DataFrame]


def near_references(
    claims: Sequence[Claim], ids: Mapping[Picture, str], facts: pd.DataFrame
) -> float:
    """:func:`siamese.stretch.near_hands` of the references of some claims.

    Parameters
    ----------
    ids : of the claims' pictures. facts : as :func:`with_vectors` gives them.
    """
    vectors = facts["embedding"].dropna()
    named = {
        claim.claim_id: (claim.writer, [*(ids[one] for one in claim.references), *claim.enrolled])
        for claim in claims
        if not claim.problem
    }
    writers = writers_of(named)
    whose = {one: writers[name] for name, (_, references) in named.items() for one in references}
    usable = [one for one in whose if one in vectors.index]
    if not usable:
        return 0.0
    return near_hands(
        np.stack(vectors.loc[usable].tolist()), np.array([whose[one] for one in usable])
    )


@contextmanager
def score_shards(
    claims: Sequence[Claim],
    batch: Batch,
    verifier: Verifier,
    settings: ScoringSettings,
    progress: Progress = lambda done, total: None,
) -> Iterator[Scored]:
    """Decide on every claim, by the verifier's policy; some claims at a time.

    A finished shard is in the ledger before the next is decided on, and is read from there when a
    killed run is started again; the result is the same to the last bit. What distances are
    multiplied by is told by the references of claims that are spread evenly over all.
    """
    tiers = Tiers.of(verifier)
    stores = Stores.of(verifier, batch.store)
    ahead = ContentStore(stores.canvases.place, CANVAS_SCHEMA)  # for the thread that decodes
    batch = replace(batch, root=batch.root.resolve())
    size, step = verifier.imaging_settings, settings.shard
    hashed: dict[Path, str] = {}  # a reference is in claims of many shards

    def decoded(some: Sequence[Claim], ids: Mapping[Picture, str]) -> pd.DataFrame:
        return prepare_files(files_of(some, ids, batch.enrolment.files), size, ahead, decoders=pool)

    def sampled() -> _Shard:
        places = np.linspace(0, len(claims) - 1, min(len(claims), _ASKED)).astype(int).tolist()
        some = [claims[place] for place in places]
        return _Shard(some, hash_claims(some, hashed))

    def asked(coming: Future[_Shard]) -> _Shard:
        some, ids, *_ = coming.result()
        shown = {ids[claim.questioned] for claim in some if claim.questioned}
        new = len(shown) - len(ahead.get(list(shown), ["quality"]))
        # Decoders start while the first shard is read, as many as there seems to be work for.
        pool.begin(making(size), new * len(claims) // max(len(some), 1))
        some = [replace(claim, questioned=None) for claim in some]
        return _Shard(some, ids, decoded(some, ids))

    def read(start: int) -> _Shard:
        some = claims[start : start + step]
        ids = hash_claims(some, hashed)
        name = fingerprint([claim_fingerprint(claim, ids, batch.root) for claim in some])
        entry = batch.ledger / f"{start // step:06d}-{name}.parquet"
        return _Shard(some, ids, entry=entry, table=CLAIM_DECISIONS.read_whole(entry))

    def prepared(coming: Future[_Shard]) -> _Shard:
        shard = coming.result()
        if shard.table is not None:
            return shard
        return shard._replace(facts=decoded(shard.claims, shard.ids))

    def embedded(coming: Future[_Shard]) -> _Shard:
        shard = coming.result()
        if shard.table is not None:
            return shard
        return shard._replace(facts=with_vectors(shard.facts, verifier, stores))

    def told(coming: Future[_Shard]) -> float:
        shard = embedded(coming)
        near = near_references(shard.claims, shard.ids, shard.facts)
        return stretch(near, verifier.near_hands)

    with (
        leave_what_is_there(),
        Decoders(settings.workers) as pool,
        _Thread() as reads,
        _Thread() as first,
        _Thread() as second,
    ):
        by = (
            second.submit(told, first.submit(asked, reads.submit(sampled)))
            if verifier.near_hands
            else None
        )
        # While one shard is decided on, the network is at work on the pictures of the next, and
        # those of the ones after it are decoded.
        starts = iter(range(0, len(claims), step))
        begun = (
            second.submit(embedded, first.submit(prepared, reads.submit(read, start)))
            for start in starts
        )
        coming = deque(itertools.islice(begun, _AHEAD))
        factor = by.result() if by else 1.0

        def tables() -> Iterator[pd.DataFrame]:
            done = 0
            while coming:
                shard = coming.popleft().result()
                coming.extend(itertools.islice(begun, 1))
                if len(coming) < _AHEAD:  # all will be decoded; to end processes takes a while
                    first.submit(pool.rest)
                yield _decisions(shard, batch, tiers, factor)
                give_back_memory()
                done += len(shard.claims)
                progress(done, len(claims))

        yield Scored(factor, tables())


def score_claims(
    claims: Sequence[Claim], batch: Batch, verifier: Verifier, settings: ScoringSettings
) -> pd.DataFrame:
    """The decisions of :func:`score_shards` as one table."""
    with score_shards(claims, batch, verifier, settings) as scored:
        return pd.concat(scored.tables, ignore_index=True)


def _decisions(shard: _Shard, batch: Batch, tiers: Tiers, factor: float) -> pd.DataFrame:
    """Those on a shard, from the ledger or into it."""
    if shard.table is not None:
        return shard.table
    names = batch.enrolment.names
    rows = decided(shard.claims, shard.ids, shard.facts, tiers, batch.root, names, factor)
    decisions = pd.DataFrame(rows).assign(
        model_version=batch.model_version, scored_at=batch.scored_at.replace(microsecond=0)
    )
    CLAIM_DECISIONS.write(decisions, shard.entry, {})
    return CLAIM_DECISIONS.read(shard.entry)


def files_of(
    claims: Sequence[Claim], ids: Mapping[Picture, str], enrolled: Mapping[str, Path]
) -> list[File]:
    """The file of each picture and enrolled reference of some claims, once.

    Parameters
    ----------
    ids : of the claims' pictures. enrolled : the picture of every enrolled reference, by id.
    """
    files: dict[str, File] = {
        image_id: (image_id, enrolled[image_id]) for claim in claims for image_id in claim.enrolled
    }
    files |= {ids[p]: (ids[p], p.path, p.page) for claim in claims for p in claim.pictures}
    return list(files.values())


def with_vectors(facts: pd.DataFrame, verifier: Verifier, stores: Stores) -> pd.DataFrame:
    """Facts of pictures, joined with their vectors, which are made where there are none.

    Parameters
    ----------
    facts : as :func:`siamese.preparing.prepare_files` gives them.

    Returns
    -------
    The same with ``embedding``, which is missing where the quality is not usable.
    """
    size = verifier.imaging_settings
    good = facts.index[facts["quality"].isin(USABLE)]
    known = stores.vectors.get(good.tolist())
    todo = good[~good.isin(known.index)].tolist()
    made = [known]
    for start in range(0, len(todo), _AT_ONCE):
        if start:
            give_back_memory()  # once a shard is too seldom where many pictures are new
        some = todo[start : start + _AT_ONCE]
        embedded = verifier.embed(stored_canvases(stores.canvases, some, size))
        rows = pd.DataFrame({"image_id": some, "embedding": list(embedded)})
        stores.vectors.put(rows)
        made.append(rows.set_index("image_id"))
    return facts.join(pd.concat(made))


class _Thread(ThreadPoolExecutor):
    """One thread, for one kind of work; what it has not begun when all ends is not done."""

    def __init__(self) -> None:
        super().__init__(1)

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)


class _Shard(NamedTuple):
    """Claims, the ids of their pictures, and either their decisions or what these follow from.

    entry : where the ledger has them.
    """

    claims: Sequence[Claim]
    ids: Mapping[Picture, str]
    facts: pd.DataFrame = pd.DataFrame()
    entry: Path = Path()
    table: pd.DataFrame | None = None
