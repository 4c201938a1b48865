"""Enrolled references: a writer's signatures, kept so that later claims need no picture of them.

What is kept is the canvas of each, not a vector: a new model embeds it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from siamese.config import ImagingSettings
from siamese.imaging import USABLE
from siamese.pictures import (
    ManifestError,
    Picture,
    below,
    expand,
    find_manifest,
    hash_pictures,
    is_there,
    need_pdf_reader,
    read_manifest,
)
from siamese.preparing import Progress, canvas_store, imaging_fingerprint, prepare_files
from siamese.store import CANVAS_SCHEMA, ContentStore

ENROLLED_SCHEMA = pa.schema(
    [
        ("writer_id", pa.string()),
        ("name", pa.string()),
        *CANVAS_SCHEMA,
        ("enrolled_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Reference:
    """A reference to be enrolled; None where a manifest names no picture that can be one."""

    writer_id: str
    name: str
    picture: Picture | None


def enrolment_store(folder: Path, settings: ImagingSettings) -> ContentStore:
    """Enrolled references of canvases made with these settings, below ``folder``."""
    return ContentStore(folder / "enrolled" / imaging_fingerprint(settings), ENROLLED_SCHEMA)


def read_references(root: Path) -> list[Reference]:
    """Reference signatures by writer: ``<writer_id>/*``, or a manifest ``writer_id, reference``.

    Raises
    ------
    ManifestError : there is no such folder, or nothing to enrol in it.
    """
    if not root.exists():
        raise ManifestError(f"The folder of references {root} does not exist.")
    given, root = root, root.resolve()
    folder = root.parent if root.is_file() else root
    manifest = root if root.is_file() else find_manifest(root, "references")
    found = _from_manifest(manifest, folder) if manifest else _from_folders(folder)
    if not found:
        raise ManifestError(
            f"There are no references in {given}: expected references.csv, .parquet or .xlsx with "
            "the columns writer_id, reference, or a folder <writer_id>/ of pictures a writer."
        )
    need_pdf_reader((one.picture for one in found if one.picture), given)
    return found


def _from_folders(root: Path) -> list[Reference]:
    return [
        Reference(folder.name, picture.name(root), picture)
        for folder in sorted(path for path in root.iterdir() if path.is_dir())
        for picture in below(root, folder)
    ]


def _from_manifest(manifest: Path, root: Path) -> list[Reference]:
    table = read_manifest(manifest)
    missing = {"writer_id", "reference"} - set(table.columns)
    if missing:
        raise ManifestError(f"{manifest} lacks the column(s) {', '.join(sorted(missing))}.")
    return [
        Reference(writer.strip(), picture.name(root) if picture else text, picture)
        for writer, text in zip(table["writer_id"], table["reference"], strict=True)
        for picture in expand(root, text)
    ]


def enrol(
    references: Sequence[Reference],
    settings: ImagingSettings,
    folder: Path,
    enrolled_at: datetime,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Keep the references that can be used; those kept before are not kept twice.

    Parameters
    ----------
    folder : of canvases and enrolments, shared by all runs.

    Returns
    -------
    One row a reference: ``writer_id, name, outcome`` (enrolled, known, or what is wrong) and
    ``detail``, a sentence on what is wrong.
    """
    good = [one.picture for one in references if one.picture and is_there(one.picture)]
    ids = hash_pictures(good)
    facts = prepare_files(
        [(ids[p], p.path, p.page) for p in good],
        settings,
        canvas_store(folder, settings),
        workers=workers,
        progress=progress,
    )
    store = enrolment_store(folder, settings)
    known = set(store.columns("writer_id", "image_id").itertuples(index=False, name=None))
    outcomes, rows = [], []
    for one in references:
        image_id = ids.get(one.picture, "") if one.picture else ""
        outcome, detail = "reference_missing", "There is no such picture in the folder."
        if not one.writer_id:
            outcome, detail = "no_writer", "The writer_id is empty."
        elif (one.writer_id, image_id) in known:
            outcome, detail = "known", ""
        elif image_id and facts.loc[image_id, "quality"] not in USABLE:
            outcome = str(facts.loc[image_id, "quality"])
            detail = str(facts.loc[image_id, "quality_detail"])
        elif image_id:
            outcome, detail = "enrolled", str(facts.loc[image_id, "quality_detail"])
            known.add((one.writer_id, image_id))
            kept = facts.loc[image_id].to_dict()
            kept |= {"writer_id": one.writer_id, "name": one.name, "image_id": image_id}
            rows.append({**kept, "enrolled_at": enrolled_at})
        outcomes.append((one.writer_id, one.name, outcome, detail))
    store.put(pd.DataFrame(rows, columns=ENROLLED_SCHEMA.names))
    return pd.DataFrame(outcomes, columns=["writer_id", "name", "outcome", "detail"])


def enrolled_writers(store: ContentStore) -> dict[str, tuple[str, ...]]:
    """Image ids of every writer's enrolled references."""
    table = store.columns("writer_id", "image_id").drop_duplicates().sort_values("image_id")
    return {str(w): tuple(ids) for w, ids in table.groupby("writer_id")["image_id"]}
