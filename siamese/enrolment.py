"""Enrolled references: a writer's signatures, kept so that later claims need no picture of them.

The pictures themselves are kept, not what a model makes of them: a new model makes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.files import shown
from siamese.imaging import USABLE
from siamese.manifests import ManifestError, find_manifest, read_manifest
from siamese.pictures import (
    Folder,
    Picture,
    copy_picture,
    folder_of,
    hash_pictures,
    is_there,
    keep_only,
    need_pdf_reader,
)
from siamese.preparing import Progress, canvas_store, prepare_files
from siamese.reading import ImageRefused
from siamese.store import ContentStore

_SCHEMA = pa.schema(
    [
        ("writer_id", pa.string()),
        ("name", pa.string()),
        ("image_id", pa.string()),
        ("file", pa.string()),
        ("enrolled_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Reference:
    """A reference to be enrolled; None where a manifest names no picture that can be one."""

    writer_id: str
    name: str
    picture: Picture | None


@dataclass(frozen=True)
class Enrolment:
    """All enrolled references.

    folder : of their pictures. table : ``writer_id, name, image_id, file``, one row each.
    """

    folder: Path
    table: pd.DataFrame

    @cached_property
    def writers(self) -> dict[str, tuple[str, ...]]:
        """Image ids of every writer's references."""
        return {str(w): tuple(ids) for w, ids in self.table.groupby("writer_id")["image_id"]}

    @cached_property
    def files(self) -> dict[str, Path]:
        """The picture of every image id."""
        return {
            image_id: self.folder / file
            for image_id, file in zip(self.table["image_id"], self.table["file"], strict=True)
        }

    @cached_property
    def names(self) -> dict[tuple[str, str], str]:
        """What each was called, by writer and image id."""
        keys = self.table[["writer_id", "image_id"]].itertuples(index=False, name=None)
        return dict(zip(keys, self.table["name"], strict=True))


def enrolment_folder(data_dir: Path) -> Path:
    """Where references are enrolled, in the folder that everything is written to."""
    return data_dir / "enrolled"


def read_enrolment(folder: Path) -> Enrolment:
    """The enrolment kept in a folder; empty where there is none.

    Raises
    ------
    RunError : a part of it is damaged.
    """
    table = _store(folder).columns("writer_id", "name", "image_id", "file")
    table = table.drop_duplicates(["writer_id", "image_id"]).sort_values(["writer_id", "image_id"])
    return Enrolment(folder / "pictures", table)


def _store(folder: Path) -> ContentStore:
    return ContentStore(folder, _SCHEMA, record=True)


def enrolled_alone(folder: Path, writer: str) -> pd.DataFrame:
    """A writer's references that nobody else has: ``image_id`` and ``file``."""
    table = read_enrolment(folder).table
    theirs = table["writer_id"] == writer
    alone = theirs & ~table["image_id"].isin(table.loc[~theirs, "image_id"])
    return table.loc[alone, ["image_id", "file"]]


def forget_enrolled(folder: Path, writer: str) -> int:
    """Remove a writer's references and, where nobody else has them, their pictures.

    Pictures go first: cut off and done again, it goes on.

    Returns
    -------
    How many references nobody else has.
    """
    alone = enrolled_alone(folder, writer)
    for file in alone["file"]:
        (folder / "pictures" / file).unlink(missing_ok=True)
    # By their own names: what others have of the same pictures stays.
    _store(folder).remove(lambda rows: pc.equal(rows["writer_id"], writer))
    keep_only(folder / "pictures", _store(folder).columns("file")["file"])
    return len(alone)


def lock_of_enrolment(folder: Path) -> FileLock:
    """Held by whoever enrols or forgets: a picture is there before the row that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def read_references(root: Path) -> list[Reference]:
    """Reference signatures by writer: ``<writer_id>/*``, or a manifest ``writer_id, reference``.

    Raises
    ------
    ManifestError : there is no such folder, or nothing to enrol in it.
    """
    if not root.exists():
        raise ManifestError(f"The folder of references {root} does not exist.")
    given, root = root, root.resolve()
    folder, manifest = folder_of(root), find_manifest(root, "references")
    found = _from_manifest(manifest, folder) if manifest else _from_folders(folder)
    if not found:
        raise ManifestError(
            f"There are no references in {given}: expected references.csv, .parquet or .xlsx with "
            "the columns writer_id, reference, or a folder <writer_id>/ of pictures a writer."
        )
    need_pdf_reader((one.picture for one in found if one.picture), given)
    return found


def _from_folders(root: Path) -> list[Reference]:
    within = Folder(root)
    return [
        Reference(shown(folder.name), picture.name(root), picture)
        for folder in sorted(path for path in root.iterdir() if path.is_dir())
        for picture in within.below(folder)[0]
    ]


def _from_manifest(manifest: Path, root: Path) -> list[Reference]:
    table = read_manifest(manifest, required=("writer_id", "reference"))
    within, found = Folder(root), []
    for writer, text in zip(
        table["writer_id"].str.strip(), table["reference"].str.strip(), strict=True
    ):
        # An empty cell is no picture.
        pictures = within.expand(text) if text else []
        for picture in pictures or [None]:
            found.append(Reference(writer, picture.name(root) if picture else text, picture))
    return found


def enrol(
    references: Sequence[Reference],
    settings: ImagingSettings,
    store: Path,
    folder: Path,
    enrolled_at: datetime,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Keep the references that can be used; those kept before are not kept twice.

    Parameters
    ----------
    store : folder of canvases. folder : of the enrolment.

    Returns
    -------
    One row a reference: ``writer_id, name, outcome`` (enrolled, known, or what is wrong) and
    ``detail``, a sentence on what is wrong.
    """
    good = [one.picture for one in references if one.picture and is_there(one.picture)]
    with lock_of_enrolment(folder):
        ids = hash_pictures(good)
        facts = prepare_files(
            [(ids[p], p.path, p.page) for p in good],
            settings,
            canvas_store(store, settings),
            workers=workers,
            progress=progress,
        )
        outcomes, rows = [], []
        with Decoders(workers) as decoders:
            known = set(read_enrolment(folder).names)
            for one in references:
                outcome, detail = "reference_missing", "There is no such picture in the folder."
                if not one.writer_id:
                    outcome, detail = "no_writer", "The writer_id is empty."
                elif one.picture in ids:
                    fact = facts.loc[ids[one.picture]]
                    outcome, detail = str(fact["quality"]), str(fact["quality_detail"])
                    file = ""
                    if outcome in USABLE:
                        try:
                            file = copy_picture(
                                one.picture, settings, folder / "pictures", decoders
                            )
                        except ImageRefused as error:
                            outcome, detail = "unreadable", str(error)
                    if file:
                        image_id = Path(file).stem
                        outcome = "known" if (one.writer_id, image_id) in known else "enrolled"
                        known.add((one.writer_id, image_id))
                        if outcome == "enrolled":
                            rows.append((one.writer_id, one.name, image_id, file, enrolled_at))
                outcomes.append((one.writer_id, one.name, outcome, detail))
            _store(folder).put(pd.DataFrame(rows, columns=_SCHEMA.names))
            keep_only(folder / "pictures", _store(folder).columns("file")["file"])
    return pd.DataFrame(outcomes, columns=["writer_id", "name", "outcome", "detail"])
