"""Analysts' verdicts on claims: labelled claims to recalibrate on, signatures to train on.

The feedback folder is a claims folder of its own: ``claims.csv`` with a column ``label``, and
``pictures/``. ``signatures.csv`` beside it is a training manifest of the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from siamese import imaging
from siamese.claims import Claim
from siamese.config import ImagingSettings
from siamese.files import fingerprint, replace_file, write_text
from siamese.pictures import ManifestError, Picture, read_manifest

LABELS = ("genuine", "forged")
_COLUMNS = ["claim_id", "questioned", "reference", "writer_id", "label"]


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
    table = read_manifest(path)
    missing = {"claim_id", "verdict"} - set(table.columns)
    if missing:
        raise ManifestError(f"{path} lacks the column(s) {', '.join(sorted(missing))}.")
    wrong = table.loc[~table["verdict"].isin(LABELS), "verdict"]
    if len(wrong):
        raise ManifestError(
            f"{path}: verdicts are {' or '.join(LABELS)}, but row {wrong.index[0] + 2} has "
            f"{wrong.iloc[0]!r}."
        )
    ids = table.get("questioned_id", pd.Series("", index=table.index))
    return {
        # The report puts a quote before what a spreadsheet would run as a formula.
        claim_id.removeprefix("'") if claim_id[1:2] in ("=", "+", "-", "@") else claim_id: Verdict(
            label, questioned_id
        )
        for claim_id, label, questioned_id in zip(
            table["claim_id"], table["verdict"], ids, strict=True
        )
    }


def keep(
    claims: Sequence[Claim],
    ids: Mapping[Picture, str],
    verdicts: Mapping[str, Verdict],
    settings: ImagingSettings,
    folder: Path,
) -> pd.DataFrame:
    """Add claims with a verdict to the feedback folder; a later verdict replaces an earlier one.

    Parameters
    ----------
    ids : image id of every picture that the claims name.

    Returns
    -------
    One row a verdict: ``claim_id, outcome`` (kept, or what is wrong) and ``detail``.
    """
    by_id = {claim.claim_id: claim for claim in claims}
    outcomes, rows = [], []
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
            try:
                rows += _rows(claim, claim.questioned, verdict.label, ids, settings, folder)
            except (OSError, imaging.ImageRefused) as error:
                outcome, detail = "unreadable", str(error)
        outcomes.append((claim_id, outcome, detail))
    _write(pd.DataFrame(rows, columns=_COLUMNS), folder)
    return pd.DataFrame(outcomes, columns=["claim_id", "outcome", "detail"])


def _rows(
    claim: Claim,
    questioned: Picture,
    label: str,
    ids: Mapping[Picture, str],
    settings: ImagingSettings,
    folder: Path,
) -> list[tuple[str, str, str, str, str]]:
    """Rows of the feedback's manifest, their pictures copied."""
    asked = _copy(questioned, ids, settings, folder)
    name = f"{claim.claim_id}-{fingerprint(ids[questioned])[:8]}"
    references = [_copy(picture, ids, settings, folder) for picture in claim.references]
    writer = claim.further.get("writer_id", "").strip()
    # A claim with enrolled references alone has one row, with the writer to look them up by.
    return [(name, asked, reference, writer, label) for reference in references or [""]]


def _copy(
    picture: Picture, ids: Mapping[Picture, str], settings: ImagingSettings, folder: Path
) -> str:
    """Copy a picture into the folder, a page of several as PNG; its name there."""
    data, suffix = picture.path.read_bytes(), picture.path.suffix.lower()
    if picture.page > 1 or suffix == ".pdf":
        out = io.BytesIO()
        Image.fromarray(imaging.decode(data, settings, picture.page)).save(out, "PNG")
        data, suffix = out.getvalue(), ".png"
    name = f"pictures/{ids[picture]}{suffix}"
    if not (folder / name).is_file():
        with replace_file(folder / name) as handle:
            handle.write(data)
    return name


def _write(rows: pd.DataFrame, folder: Path) -> None:
    """Merge into both manifests."""
    path = folder / "claims.csv"
    if path.is_file():
        before = read_manifest(path)
        rows = pd.concat([before[~before["claim_id"].isin(rows["claim_id"])], rows])
    rows = rows.sort_values("claim_id", kind="stable")
    write_text(path, rows[_COLUMNS].to_csv(index=False))
    write_text(folder / "signatures.csv", _signatures(rows).to_csv(index=False))


def _signatures(rows: pd.DataFrame) -> pd.DataFrame:
    """The same as a training manifest: claims that share a reference are of one writer."""
    writer_of: dict[str, str] = {}
    names: dict[str, str] = {}
    for claim_id, mine in rows.groupby("claim_id", sort=True):
        references = [name for name in mine["reference"] if name]
        known = [writer_of[name] for name in references if name in writer_of]
        own = mine["writer_id"].iloc[0] or f"claim-{fingerprint(claim_id)}"
        writer = known[0] if known else own
        # Two writers that turn out to share a reference become one.
        writer_of = {k: writer if w in known else w for k, w in writer_of.items()}
        names = {k: writer if w in known else w for k, w in names.items()}
        writer_of |= dict.fromkeys(references, writer)
        names[claim_id] = writer
    kinds = {"genuine": "genuine", "forged": "skilled_forgery"}
    asked = [
        (row.questioned, names[row.claim_id], kinds[row.label])
        for row in rows.drop_duplicates("claim_id").itertuples()
    ]
    references = [(name, writer, "genuine") for name, writer in writer_of.items()]
    table = pd.DataFrame([*references, *asked], columns=["path", "writer", "kind"])
    return table.drop_duplicates("path")
