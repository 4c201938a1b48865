"""Everything that is kept of one writer, and its removal.

A writer goes by the name of an enrolment, of a claim's ``writer_id``, or of a training set
(``source:writer``, or the part after the colon). What lies outside the data folder, as the claims
and the training sets that were read from elsewhere, is not ours to remove, and is said.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from siamese.enrolment import (
    enrolled_alone,
    enrolment_folder,
    forget_enrolled,
    lock_of_enrolment,
)
from siamese.errors import InputError
from siamese.feedback import feedback_alone, forget_feedback
from siamese.sources import mark_forgotten
from siamese.spreadsheets import unguarded
from siamese.store import ContentStore
from siamese.tables import CLAIM_DECISIONS, FILES, IMAGES, Table, TableError

# The decisions last: they tell whose claims they are.
_OF_CLAIMS = ("explain", "drift", "report", "score")
#: Where pictures of training sets are named. Of one that lies there twice, images name one file.
_OF_SETS: Mapping[str, Table] = {
    "stages/*/*/images.parquet": IMAGES,
    "stages/*/*/files.parquet": FILES,
    "raw/listed/*.parquet": FILES,
}


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
    enrolled = enrolment_folder(data_dir)
    with lock_of_enrolment(enrolled) if enrolled.is_dir() else nullcontext():
        return _forget(data_dir, enrolled, writer)


def _forget(data_dir: Path, enrolled: Path, writer: str) -> list[str]:
    feedback = data_dir / "feedback"
    batches, of_claims, damaged = _claims_of(data_dir, writer)
    datasets, unread = _datasets_of(data_dir, writer)
    ids = of_claims.union(*(set(mine["image_id"]) for mine in datasets.values()))
    ids |= set(enrolled_alone(enrolled, writer)["image_id"])
    ids |= {Path(name).stem for name in feedback_alone(feedback, writer)}
    # What is known of pictures goes before what tells whose they are.
    rows, gone = 0, pa.array(sorted(ids), pa.string())
    for folder in sorted((data_dir / "store").glob("*/*")):
        rows += ContentStore(folder, _ANY).remove(lambda part: pc.is_in(part["image_id"], gone))
    return [
        *_counted(rows, "canvas(es) and vector(s) removed."),
        *_counted(forget_enrolled(enrolled, writer), "enrolled reference(s) removed."),
        *_counted(forget_feedback(feedback, writer), "picture(s) of feedback removed."),
        *_forget_datasets(data_dir, writer, datasets),
        *_forget_batches(data_dir, batches),
        *(
            f"{path} could not be read, and may be about this writer: delete it."
            for path in (*damaged, *unread)
        ),
    ]


#: Of a store whose rows are only to be removed.
_ANY = pa.schema([("image_id", pa.string())])


def _counted(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}"] if count else []


def _claims_of(data_dir: Path, writer: str) -> tuple[int, set[str], list[Path]]:
    """How many batches have claims about the writer, pictures that these name, damaged tables."""
    ids: set[str] = set()
    batches: set[Path] = set()
    damaged: list[Path] = []
    finished, unfinished = "*/decisions.parquet", ".*.partial/shards/*.parquet"
    scored = data_dir / "stages" / "score"
    asked = ("writer_id", "questioned_id", "closest_reference_id")
    for path in sorted([*scored.glob(finished), *scored.glob(unfinished)]):
        try:
            table = CLAIM_DECISIONS.columns(path, asked)
        except (OSError, pa.ArrowException, TableError):
            damaged.append(path)
            continue
        if "writer_id" not in table:
            continue
        mine = table[table["writer_id"].fillna("").map(unguarded).str.strip() == writer]
        ids |= set(mine["questioned_id"]) | set(mine["closest_reference_id"])
        if len(mine):
            batches.add(path.relative_to(scored).parents[-2])  # the run's own folder
    return len(batches), ids - {""}, damaged


def _forget_batches(data_dir: Path, batches: int) -> list[str]:
    """Remove all outputs that show claims: whole, as reports show all claims of a batch."""
    if not batches:
        return []
    # Which report is of which decisions is in neither; all of them are made again when asked.
    for stage in _OF_CLAIMS:
        _remove(data_dir / "stages" / stage)
    return [
        f"{batches:,} batch(es) of claims were about this writer: all decisions and "
        "reports kept here are removed, and made again when the claims are scored. The claims "
        "themselves are in your folders."
    ]


def _datasets_of(data_dir: Path, writer: str) -> tuple[dict[Path, pd.DataFrame], list[Path]]:
    """The writer's rows in each table of training pictures that has some, and damaged tables."""
    found, damaged = {}, []
    for pattern, contract in _OF_SETS.items():
        for path in sorted(data_dir.glob(pattern)):
            table = contract.read_whole(path)
            if table is None:
                damaged.append(path)
            elif len(mine := table[_is(table["writer"], writer)]):
                found[path] = mine
    return found, damaged


def _is(names: pd.Series, writer: str) -> pd.Series:
    return (names == writer) | names.str.endswith(f":{writer}")


def _forget_datasets(
    data_dir: Path, writer: str, datasets: Mapping[Path, pd.DataFrame]
) -> list[str]:
    """Remove the writer's pictures in training sets, and then what names them."""
    raw, inside, outside = data_dir / "raw", 0, 0
    if datasets and raw.is_dir():
        mark_forgotten(raw)
    for file in {Path(name) for mine in datasets.values() for name in mine["path"]}:
        if not file.is_file():
            continue
        if file.resolve().is_relative_to(data_dir.resolve()):
            file.unlink()
            inside += 1
        else:
            outside += 1
    if datasets:  # its figures show pairs of test writers
        _remove(data_dir / "stages" / "evaluate")
    for path in datasets:
        if path.is_relative_to(raw):
            table = FILES.read(path)
            FILES.write(table[~_is(table["writer"], writer)], path, {})
        else:
            _remove(path.parent)
    return [
        *_counted(inside, "picture(s) of training sets removed."),
        *_counted(outside, "picture(s) are in folders of yours: remove them there."),
    ]


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
