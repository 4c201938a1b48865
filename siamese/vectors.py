"""Vectors of pictures, each made once ever: looked up, made where there are none, and kept."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.imaging import USABLE
from siamese.preparing import canvas_store, stored_canvases
from siamese.store import ContentStore, embedding_schema
from siamese.verifier import Verifier

_AT_ONCE = 512  # pictures that are embedded before their vectors are kept


@dataclass(frozen=True)
class Stores:
    """What is kept between runs: canvases and vectors."""

    canvases: ContentStore
    vectors: ContentStore

    @staticmethod
    def of(verifier: Verifier, folder: Path) -> Stores:
        """Those of this verifier's way of making canvases and vectors, below a folder."""
        vectors = folder / "embeddings" / verifier.embedding_fingerprint
        return Stores(
            canvas_store(folder, verifier.imaging_settings),
            ContentStore(vectors, embedding_schema(verifier.network_settings.length)),
        )


def with_vectors(facts: pd.DataFrame, verifier: Verifier, stores: Stores) -> pd.DataFrame:
    """Facts of pictures, joined with their vectors, which are made where there are none.

    Parameters
    ----------
    facts : as :func:`siamese.preparing.prepare_files` gives them.

    Returns
    -------
    The same with ``embedding``, which is missing where the quality is not usable.
    """
    with Embedding(verifier, stores, stores) as embedding:
        return embedding.make(embedding.look(facts)).when_kept()


class Looked(NamedTuple):
    """Pictures with the vectors that are kept of them, and those to be made.

    coming : are made for the pictures before. todo : are not, and the canvases of the first.
    """

    facts: pd.DataFrame
    known: pd.DataFrame
    coming: list[str]
    todo: list[str]
    canvases: npt.NDArray[np.uint8]


class Made(NamedTuple):
    """Facts with vectors, some of which are still to be kept."""

    facts: pd.DataFrame
    keeping: Sequence[Future[None]]

    def when_kept(self) -> pd.DataFrame:
        """The facts, when all vectors are kept; whatever prevents it is raised."""
        for one in self.keeping:
            one.result()
        return self.facts


class Embedding:
    """The network at work on some pictures after others, and hardly ever waiting for a disk.

    While it is, the next pictures are looked up and the vectors before are kept. What one look
    found no vector of is not made again for the next ones: each picture is embedded once.

    Parameters
    ----------
    ahead : for the thread that looks. stores : for the one that keeps. of the same folder.
    before : looks back that vectors may be on their way: those before them are kept.
    """

    def __init__(self, verifier: Verifier, ahead: Stores, stores: Stores, before: int = 0) -> None:
        self._verifier, self._ahead, self._stores = verifier, ahead, stores
        self._asked: deque[list[str]] = deque(maxlen=before)
        self._made: deque[pd.DataFrame] = deque(maxlen=before)
        self._keeper = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.shutdown()

    def look(self, facts: pd.DataFrame) -> Looked:
        """What is known of pictures; in one thread, and for :meth:`make` in the same order.

        Parameters
        ----------
        facts : as :func:`siamese.preparing.prepare_files` gives them.
        """
        good = facts.index[facts["quality"].isin(USABLE)]
        known = self._ahead.vectors.get(good.tolist())
        missing = good.difference(known.index, sort=False)
        begun = missing.isin([one for some in self._asked for one in some])
        todo = missing[~begun].tolist()
        self._asked.append(todo)
        canvases = self._read(self._ahead, todo[:_AT_ONCE])
        return Looked(facts, known, missing[begun].tolist(), todo, canvases)

    def make(self, looked: Looked) -> Made:
        """The vectors that are missing; in one thread, which may be another than that of looks."""
        parts = [looked.todo[i : i + _AT_ONCE] for i in range(0, len(looked.todo), _AT_ONCE)]
        canvases, made, keeping = looked.canvases, [], []
        for part, after in itertools.pairwise([*parts, []]):
            reading = self._keeper.submit(self._read, self._stores, after)
            vectors = list(self._verifier.embed(canvases))
            rows = pd.DataFrame({"image_id": part, "embedding": vectors})
            keeping.append(self._keeper.submit(self._stores.vectors.put, rows))
            made.append(rows.set_index("image_id"))
            canvases = reading.result()
        before = pd.concat([looked.known.iloc[:0], *self._made]).loc[looked.coming]
        self._made.append(pd.concat([looked.known.iloc[:0], *made]))
        found = pd.concat([looked.known, before, *made])
        return Made(looked.facts.join(found), keeping)

    def _read(self, stores: Stores, some: Sequence[str]) -> npt.NDArray[np.uint8]:
        return stored_canvases(stores.canvases, some, self._verifier.imaging_settings)
