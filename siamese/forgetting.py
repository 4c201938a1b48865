"""Everything that is kept of one writer, and its removal.

A writer goes by the name of an enrolment, of a claim's ``writer_id``, or of a training set
(``source:writer``, or the part after the colon). What lies outside the data folder, as the claims
and the training sets that were read from elsewhere, is not ours to remove, and is said.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from siamese.enrolment import enrolment_folder, forget_enrolled
from siamese.errors import InputError
from siamese.feedback import forget_feedback
from siamese.store import ContentStore
from siamese.tables import CLAIM_DECISIONS, IMAGES

_OF_CLAIMS = ("score", "explain", "drift", "report")


def forget(data_dir: Path, writer: str) -> list[str]:
    """Remove a writer from enrolment, feedback, datasets, stores and scored claims.

    Done again after it was cut off, it goes on; done twice, it finds nothing.

    Returns
    -------
    A sentence for each kind of thing that was removed, or that is not ours to remove.

    Raises
    ------
    InputError : the name is empty.
    """
    if not writer.strip():
        raise InputError("Name the writer that is to be forgotten.")
    told: list[str] = []
    ids = forget_enrolled(enrolment_folder(data_dir), writer)
    told += _counted(len(ids), "enrolled reference(s) removed.")
    asked = forget_feedback(data_dir / "feedback", writer)
    told += _counted(len(asked), "picture(s) of feedback removed.")
    ids |= asked | _forget_claims(data_dir, writer, told) | _forget_dataset(data_dir, writer, told)
    rows, gone = 0, pa.array(sorted(ids), pa.string())
    for folder in sorted((data_dir / "store").glob("*/*")):
        rows += ContentStore(folder, _ANY).remove(lambda part: pc.is_in(part["image_id"], gone))
    return told + _counted(rows, "canvas(es) and vector(s) removed.")


#: Of a store whose rows are only to be removed.
_ANY = pa.schema([("image_id", pa.string())])


def _counted(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}"] if count else []


def _forget_claims(data_dir: Path, writer: str, told: list[str]) -> set[str]:
    """Outputs that show the writer's claims: whole, as reports show them all."""
    ids: set[str] = set()
    folders: set[Path] = set()
    for path in sorted((data_dir / "stages" / "score").glob("*/decisions.parquet")):
        table = CLAIM_DECISIONS.read_whole(path)
        if table is None or "writer_id" not in table:
            continue
        mine = table[table["writer_id"] == writer]
        if len(mine):
            ids |= set(mine["questioned_id"]) | set(mine["closest_reference_id"])
            folders.add(path.parent)
    if folders:
        # Which report is of which decisions is in neither; all of them are made again when asked.
        for stage in _OF_CLAIMS:
            shutil.rmtree(data_dir / "stages" / stage, ignore_errors=True)
        told.append(
            f"{len(folders):,} batch(es) of claims were about this writer: all decisions and "
            "reports kept here are removed, and made again when the claims are scored. The claims "
            "themselves are in your folders."
        )
    return ids - {""}


def _forget_dataset(data_dir: Path, writer: str, told: list[str]) -> set[str]:
    """The writer's pictures in training sets."""
    ids: set[str] = set()
    inside = outside = 0
    for path in sorted((data_dir / "stages").glob("*/*/images.parquet")):
        table = IMAGES.read_whole(path)
        if table is None:
            continue
        mine = table[(table["writer"] == writer) | table["writer"].str.endswith(f":{writer}")]
        ids |= set(mine["image_id"])
        for name in mine["path"]:
            file = Path(name)
            if not file.is_file():
                continue
            if file.resolve().is_relative_to(data_dir.resolve()):
                file.unlink()
                inside += 1
            else:
                outside += 1
        if len(mine):
            shutil.rmtree(path.parent)
    if ids:  # their figures show pairs of test writers
        shutil.rmtree(data_dir / "stages" / "evaluate", ignore_errors=True)
    told += _counted(inside, "picture(s) of training sets removed.")
    told += _counted(outside, "picture(s) are in folders of yours: remove them there.")
    return ids
