"""Writers into train, calibration and test; nobody and nothing is in two of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from siamese.config import SplitSettings
from siamese.copies import same_picture
from siamese.errors import InputError
from siamese.files import sha256_of
from siamese.sources.listing import Protocol
from siamese.tables import SPLITS

Places = npt.NDArray[np.int64]


class SplitError(InputError):
    """Writers cannot be split as asked; the message says why."""


def parse_writers(text: str) -> set[str]:
    """Writer names from a list of names and number ranges.

    >>> sorted(parse_writers("001-003, 010, anna"))
    ['001', '002', '003', '010', 'anna']
    """
    names: set[str] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        ends = re.fullmatch(r"(\d+)-(\d+)", item)
        if ends is None:
            names.add(item)
        else:
            width = len(ends[1])
            names |= {f"{n:0{width}d}" for n in range(int(ends[1]), int(ends[2]) + 1)}
    return names


def split_writers(
    images: pd.DataFrame,
    protocols: Mapping[str, Protocol],
    settings: SplitSettings,
    seed: int,
) -> pd.DataFrame:
    """Give each writer a split and a fold.

    Parameters
    ----------
    images : an IMAGES table; writers are named ``source:writer``.
    protocols : by source, the writers of each split; other sources are split at random.

    Returns
    -------
    A splits table: writer, split, fold.

    Raises
    ------
    SplitError : a split is left empty, or one picture is in two splits.
    """
    rows = []
    for source, mine in images.groupby("source", observed=True):
        writers = sorted(mine["writer"].unique())
        protocol = protocols.get(str(source))
        assigned = (
            _by_protocol(writers, str(source), protocol)
            if protocol
            else _at_random(mine, settings, seed)
        )
        rows += [(writer, split) for writer, split in assigned.items()]
    splits = pd.DataFrame(rows, columns=["writer", "split"]).sort_values("writer")
    order = np.random.default_rng((seed, 3)).permutation(len(splits))
    splits["fold"] = order % settings.folds
    for split in SPLITS:
        if not (splits["split"] == split).any():
            raise SplitError(
                f"No writer is left for {split}: {len(splits)} writer(s) could be placed in all."
            )
    assert_disjoint(images, splits)
    return splits.reset_index(drop=True)


def assert_disjoint(images: pd.DataFrame, splits: pd.DataFrame) -> None:
    """No writer, file or perceptually identical picture is in two splits.

    Raises
    ------
    SplitError : naming what is.
    """
    if splits["writer"].duplicated().any():
        raise SplitError("A writer is in two splits.")
    placed = images.merge(splits, on="writer")
    twice = placed.groupby("image_id")["split"].nunique()
    shared = placed.loc[placed["image_id"].isin(twice[twice > 1].index), "path"].tolist()
    shared += _copies_across(placed[placed["perceptual_hash"] != ""])
    if shared:
        raise SplitError(
            f"The same picture is in two splits: {', '.join(shared[:4])}. "
            "Remove the copies, or put their writers into one split."
        )


def _copies_across(placed: pd.DataFrame) -> list[str]:
    """Paths of pictures whose copy, re-encoded or not, is in another split."""
    left, _ = _copies(placed, "split")
    return placed["path"].iloc[np.unique(left)].tolist()


def _copies(pictures: pd.DataFrame, apart: str) -> tuple[Places, Places]:
    """Places of each two pictures that are copies, re-encoded or not, and differ in a column."""
    hashes, values = pictures["perceptual_hash"].tolist(), pictures[apart].to_numpy(dtype=str)
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(hashes), 2000):
        rows = slice(start, start + 2000)
        same = same_picture(hashes[rows], hashes) & (values[rows, None] != values[None, :])
        found.append(np.argwhere(same) + np.array([start, 0]))
    left, right = np.concatenate(found).T
    return left, right


def _by_protocol(writers: list[str], source: str, protocol: Protocol) -> dict[str, str]:
    assigned: dict[str, str] = {}
    for split in SPLITS:
        text = getattr(protocol, split)
        for name in parse_writers(text):
            writer = f"{source}:{name}"
            # A range may have gaps; a name on its own is meant.
            if writer not in writers and name in re.split(r"[\s,]+", text):
                raise SplitError(f"Writer {name}, asked for in {split}, is not in {source}.")
            if assigned.setdefault(writer, split) != split:
                raise SplitError(f"Writer {writer} is asked for in {assigned[writer]} and {split}.")
    return {writer: assigned[writer] for writer in writers if writer in assigned}


def _at_random(images: pd.DataFrame, settings: SplitSettings, seed: int) -> dict[str, str]:
    """By a hash of the name, so that a writer stays in its split when others are added.

    Writers who share a picture, saved anew or not, go by the name of the first of them.
    """
    named = _sharing(images)
    placed = _by_name(sorted(set(named.values())), settings, seed)
    return {writer: placed[first] for writer, first in named.items()}


def _sharing(images: pd.DataFrame) -> dict[str, str]:
    """Of each writer, the first of those who share a picture with them, or each with the next."""
    names, codes = np.unique(images["writer"].to_numpy(dtype=str), return_inverse=True)
    known = images["perceptual_hash"].to_numpy(dtype=str) != ""
    mine = codes[known]
    left, right = (mine[rows] for rows in _copies(images[known], "writer"))
    size = (len(names), len(names))
    graph = coo_array((np.ones(len(left)), (left, right)), shape=size)
    groups = connected_components(graph, directed=False)[1]
    first = {group: place for place, group in reversed(list(enumerate(groups.tolist())))}
    return {
        str(name): str(names[first[group]])
        for name, group in zip(names, groups.tolist(), strict=True)
    }


def _by_name(writers: list[str], settings: SplitSettings, seed: int) -> dict[str, str]:
    place = {w: int(sha256_of(f"{seed}:{w}".encode())[:15], 16) / 16**15 for w in writers}
    ordered = sorted(writers, key=lambda writer: place[writer])
    both = settings.test + settings.calibration
    test = max(2, sum(place[w] < settings.test for w in writers))
    calibration = max(2, sum(settings.test <= place[w] < both for w in writers))
    # Few writers: two of each kind before more of any.
    test -= min(max(0, test + calibration + 2 - len(writers)), test - 2)
    calibration -= min(max(0, test + calibration + 2 - len(writers)), calibration - 2)
    names = ["test"] * test + ["calibration"] * calibration
    names += ["train"] * (len(writers) - len(names))
    return dict(zip(ordered, names, strict=False))
