"""Analysts' verdicts on claims: labelled claims to recalibrate on, signatures to train on.

The feedback folder is a claims folder of its own: ``claims.csv`` with a column ``label``, and
``pictures/``. ``signatures.csv`` beside it is a training manifest of the same pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from siamese import reading
from siamese.claims import Claim
from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.files import fingerprint, write_text
from siamese.manifests import ManifestError, read_manifest
from siamese.pictures import Picture, copy_picture, keep_only
from siamese.spreadsheets import people_csv, unguarded

LABELS = ("genuine", "forged")
_PICTURES = "pictures"
_COLUMNS = ["claim_id", "questioned", "reference", "writer_id", "label"]
_NAMES = ("claim_id", "writer_id")  # may be guarded from running as formulas


@dataclass(frozen=True)
class Verdict:
    """What an analyst said of a claim; ``questioned_id`` is empty where the file has none."""

    label: str
    questioned_id: str


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Verdicts by claim id, from what a report exported or any table ``claim_id, verdict``.

    Raises
    ------
    ManifestError : it cannot be read, lacks a column, or holds another verdict.
    """
    if not path.is_file():
        raise ManifestError(f"The file of verdicts {path} does not exist.")
    table = read_manifest(path, required=("claim_id", "verdict"))
    said = table["verdict"].str.strip().str.lower()
    wrong = np.flatnonzero(~said.isin(("", *LABELS)))
    if len(wrong):
        raise ManifestError(
            f"{path}: verdicts are {' or '.join(LABELS)}, but row {wrong[0] + 2} has "
            f"{table['verdict'].iloc[wrong[0]]!r}."
        )
    ids = table["questioned_id"] if "questioned_id" in table else pd.Series("", table.index)
    verdicts: dict[str, Verdict] = {}
    for name, label, questioned_id in zip(table["claim_id"], said, ids, strict=True):
        claim_id = unguarded(name)
        if label and verdicts.setdefault(claim_id, Verdict(label, questioned_id)).label != label:
            raise ManifestError(f"{path} has two verdicts on claim {claim_id!r}; keep one.")
    return verdicts


def keep(
    claims: Sequence[Claim],
    ids: Mapping[Picture, str],
    verdicts: Mapping[str, Verdict],
    settings: ImagingSettings,
    folder: Path,
    *,
    workers: int = 0,
) -> pd.DataFrame:
    """Add claims with a verdict to the feedback folder; a later verdict replaces an earlier one.

    Parameters
    ----------
    ids : image id of every picture that the claims name.
    workers : see :class:`siamese.decoding.Decoders`.

    Returns
    -------
    One row a verdict: ``claim_id, outcome`` (kept, or what is wrong) and ``detail``.
    """
    by_id = {claim.claim_id: claim for claim in claims}
    outcomes, rows = [], []
    with Decoders(workers) as decoders:
        for claim_id, verdict in verdicts.items():
            claim = by_id.get(claim_id)
            outcome, detail = "kept", ""
            if claim is None:
                outcome, detail = "unknown_claim", "There is no such claim in the folder."
            elif claim.problem or claim.questioned is None:
                outcome, detail = claim.problem, claim.detail
            elif verdict.questioned_id not in ("", ids[claim.questioned]):
                outcome = "changed"
                detail = "Its questioned picture is not the one that the verdict was given on."
            else:
                copied = partial(
                    copy_picture, settings=settings, folder=folder / _PICTURES, decoders=decoders
                )
                try:
                    rows += _rows(claim, claim.questioned, verdict.label, copied)
                except reading.ImageRefused as error:
                    outcome, detail = "unreadable", str(error)
            outcomes.append((claim_id, outcome, detail))
    _tidy(_write(pd.DataFrame(rows, columns=_COLUMNS), folder), folder)
    return pd.DataFrame(outcomes, columns=["claim_id", "outcome", "detail"])


def _rows(
    claim: Claim,
    questioned: Picture,
    label: str,
    copied: Callable[[Picture], str],
) -> list[tuple[str, str, str, str, str]]:
    """Rows of the feedback's manifest, their pictures copied."""
    asked, *references = (
        f"{_PICTURES}/{copied(picture)}" for picture in (questioned, *claim.references)
    )
    # The same claim id in another batch is another claim.
    name = f"{fingerprint(asked)[:8]} {claim.claim_id}"
    # A claim with enrolled references alone has one row, with the writer to look them up by.
    return [(name, asked, reference, claim.writer, label) for reference in references or [""]]


def _write(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Merge into both manifests; returns all that is kept then.

    Raises
    ------
    ManifestError : what is there already was changed into something that is none.
    """
    before = _kept_in(folder)
    if rows.empty:
        return before
    if not before["label"].isin(LABELS).all():
        raise ManifestError(
            f"{folder / 'claims.csv'} must have {' or '.join(LABELS)} in the column label."
        )
    kept = pd.concat([before[~before["claim_id"].isin(rows["claim_id"])], rows])
    kept = kept.sort_values("claim_id", kind="stable")
    _write_both(kept, folder)
    return kept


def _write_both(rows: pd.DataFrame, folder: Path) -> None:
    """The claims and, where there are any, the signatures to train on."""
    signatures = _signatures(rows)
    # Those first: where this is cut off, what is in the claims alone is done again.
    if signatures.empty:
        (folder / "signatures.csv").unlink(missing_ok=True)
    else:
        write_text(folder / "signatures.csv", people_csv(signatures))
    write_text(folder / "claims.csv", people_csv(rows[_COLUMNS]))


def _signatures(rows: pd.DataFrame) -> pd.DataFrame:
    """The same as a training manifest: claims that share a reference are of one writer.

    A picture that is a reference and was judged a forgery is both here; the audit leaves it out.
    """
    claims = {
        str(claim_id): (mine["writer_id"].iloc[0], [name for name in mine["reference"] if name])
        for claim_id, mine in rows.groupby("claim_id", sort=True)
    }
    writers = writers_of(claims)
    kinds = {"genuine": "genuine", "forged": "skilled_forgery"}
    table = [
        (name, writers[claim_id], "genuine")
        for claim_id, (_, references) in claims.items()
        for name in references
    ]
    table += [
        (row.questioned, writers[row.claim_id], kinds[row.label])
        for row in rows.drop_duplicates("claim_id").itertuples()
        if row.label in kinds  # somebody may have changed it
    ]
    return pd.DataFrame(table, columns=["path", "writer", "kind"]).drop_duplicates()


def feedback_alone(folder: Path, writer: str) -> set[str]:
    """Names of a writer's pictures that no other claim has; a name begins with the image id."""
    return _alone(_kept_in(folder), writer)


def _alone(table: pd.DataFrame, writer: str) -> set[str]:
    theirs = table["writer_id"] == writer
    mine, others = (
        {name for name in table.loc[rows, ["questioned", "reference"]].to_numpy().ravel() if name}
        for rows in (theirs, ~theirs)
    )
    return mine - others


def forget_feedback(folder: Path, writer: str) -> int:
    """Remove a writer's labelled claims and, where no other claim has them, their pictures.

    Pictures go first: cut off and done again, it goes on.

    Returns
    -------
    The number of such pictures.
    """
    table = _kept_in(folder)
    alone = _alone(table, writer)
    for name in alone:
        (folder / name).unlink(missing_ok=True)
    others = table[table["writer_id"] != writer]
    if len(others) < len(table):
        _write_both(others, folder)
    _tidy(others, folder)
    return len(alone)


def _tidy(kept: pd.DataFrame, folder: Path) -> None:
    """Remove pictures that no claim names: of verdicts that were replaced, or half kept."""
    if (folder / "claims.csv").is_file():  # it may lie elsewhere, in somebody's hands
        named = kept[["questioned", "reference"]].to_numpy().ravel()
        keep_only(folder / _PICTURES, (Path(name.strip()).name for name in named))


def _kept_in(folder: Path) -> pd.DataFrame:
    """The claims kept so far.

    Raises
    ------
    ManifestError : somebody changed them into something that they cannot be.
    """
    path = folder / "claims.csv"
    if not path.is_file():
        return pd.DataFrame(columns=_COLUMNS, dtype=str)
    table = read_manifest(path, required=_COLUMNS)
    table["label"] = table["label"].str.strip().str.lower()
    return table.assign(**{name: table[name].map(unguarded) for name in _NAMES})


def writers_of(claims: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Who each claim is about: claims that name one writer, or share a reference, are of one.

    Parameters
    ----------
    claims : by claim id, the writer's name, empty where there is none, and the references.

    >>> writers_of({"a": ("", ["x", "y"]), "b": ("", ["y"]), "c": ("eva", ["z"])})
    {'a': 'a', 'b': 'a', 'c': 'eva'}
    """
    names = list(claims)
    signs = [
        [*(f"reference {one}" for one in references), *([f"writer {writer}"] if writer else [])]
        for writer, references in claims.values()
    ]
    columns = {sign: place for place, sign in enumerate(dict.fromkeys(itertools.chain(*signs)))}
    first = len(names)
    links = [(row, first + columns[sign]) for row, mine in enumerate(signs) for sign in mine]
    size = len(names) + len(columns)
    places = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (places[:, 0], places[:, 1])), shape=(size, size))
    groups = connected_components(graph, directed=False)[1][: len(names)]
    called: dict[int, str] = {}
    for group, name in zip(groups, names, strict=True):
        called[group] = called.get(group) or claims[name][0]
    for group, name in zip(groups, names, strict=True):
        called[group] = called[group] or name
    return {name: called[group] for name, group in zip(names, groups, strict=True)}
