"""Pairs of a reference and a questioned signature, within a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from siamese.config import PairSettings
from siamese.copies import same_picture
from siamese.errors import InputError
from siamese.files import sha256_of
from siamese.imaging import USABLE
from siamese.tables import PAIR_KINDS

_COLUMNS = ["reference_id", "questioned_id", "writer", "questioned_writer", "kind", "label"]


class PairError(InputError):
    """Signatures that the pairs cannot be built of; the message says what is missing."""


def build_pairs(images: pd.DataFrame, settings: PairSettings, seed: int) -> pd.DataFrame:
    """Draw the pairs of one split.

    Each writer's genuine signatures are the references. Questioned against them are the
    writer's other genuine signatures (``genuine``, label 1), the forgeries of that writer
    (``skilled_forgery``, label 0) and genuine signatures of other writers of the same source
    (``random_forgery``, label 0), since another scanner would tell those of another. Up to the
    settings' number of each a writer, drawn without replacement. Copies of one picture never
    meet, since they would be won for nothing.

    Parameters
    ----------
    images : IMAGES rows of one split.

    Returns
    -------
    A pairs table, the same for the same images and seed, in whatever order they come.
    """
    usable = images[images["quality"].isin(USABLE)].sort_values("image_id")
    usable = usable[~_repeats(usable)]
    is_genuine = (usable["kind"] == "genuine").to_numpy()
    ids = usable["image_id"].to_numpy(dtype=str)
    writers = usable["writer"].to_numpy(dtype=str)
    sources = usable["source"].to_numpy(dtype=str)
    hashes = usable["perceptual_hash"].to_numpy(dtype=str)
    rows: list[tuple[object, ...]] = []
    for index, writer in enumerate(sorted(set(writers))):
        rng = np.random.default_rng((seed, index, 5))
        mine = writers == writer
        beside = ~mine & np.isin(sources, np.unique(sources[mine]))
        references = np.flatnonzero(mine & is_genuine)
        others = np.flatnonzero(beside & is_genuine)
        # Of one signer under two names, say; or pasted.
        others = others[~same_picture(hashes[references], hashes[others]).any(axis=0)]
        first, second = np.triu_indices(len(references), 1)
        for kind, label, (left, right), most in (
            ("genuine", 1, (references[first], references[second]), settings.max_genuine),
            (
                "skilled_forgery",
                0,
                _product(references, np.flatnonzero(mine & ~is_genuine)),
                settings.max_skilled,
            ),
            (
                "random_forgery",
                0,
                _product(references, others),
                settings.max_random,
            ),
        ):
            chosen = rng.permutation(len(left))[:most]
            rows += [
                (ids[a], ids[b], writer, writers[b], kind, label)
                for a, b in zip(left[chosen], right[chosen], strict=True)
            ]
    pairs = pd.DataFrame(rows, columns=_COLUMNS)
    pairs.insert(
        0,
        "pair_id",
        [
            sha256_of(f"{a}{b}".encode())[:24]
            for a, b in zip(pairs["reference_id"], pairs["questioned_id"], strict=True)
        ],
    )
    return pairs


def check_kinds(pairs: pd.DataFrame, split: str) -> None:
    """Every split needs pairs of all three kinds.

    Raises
    ------
    PairError : naming the split and what it lacks.
    """
    missing = [kind for kind in PAIR_KINDS if not (pairs["kind"] == kind).any()]
    if missing:
        raise PairError(
            f"The {split} split has no {' and no '.join(missing)} pairs: training, calibration "
            "and figures need genuine signatures and skilled forgeries of several writers in each."
        )


def _repeats(images: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which pictures are copies of an earlier one of the same writer, (N,)."""
    repeated = np.zeros(len(images), dtype=bool)
    writers = images["writer"].to_numpy(dtype=str)
    hashes = images["perceptual_hash"].to_numpy(dtype=str)
    for writer in np.unique(writers):
        mine = np.flatnonzero(writers == writer)
        same = same_picture(hashes[mine].tolist(), hashes[mine].tolist())
        repeated[mine] = np.tril(same, -1).any(axis=1)
    return repeated


def _product(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.repeat(left, len(right)), np.tile(right, len(left))
