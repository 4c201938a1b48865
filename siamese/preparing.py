"""Pictures to canvases, each once ever, in a pool of processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed

from siamese import imaging
from siamese.config import ImagingSettings
from siamese.files import code_version, fingerprint, sha256_of
from siamese.store import CANVAS_SCHEMA, ContentStore, stack_canvases

_CHUNK = 64

Progress = Callable[[int, int], None]


def imaging_fingerprint(settings: ImagingSettings) -> str:
    """Names a way of making canvases: its settings and the code that does it."""
    return fingerprint(settings.model_dump(), code_version(imaging))


def canvas_store(folder: Path, settings: ImagingSettings) -> ContentStore:
    """The store of canvases made with these settings, below ``folder``."""
    return ContentStore(folder / "canvases" / imaging_fingerprint(settings), CANVAS_SCHEMA)


def prepare_files(
    files: Sequence[tuple[str, Path]],
    settings: ImagingSettings,
    store: ContentStore,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> None:
    """Put the canvas of each file into the store, unless it is there.

    A file that cannot be read gets a row with its quality and reason.

    Parameters
    ----------
    files : (image_id, path); an id that occurs twice is done once.
    workers : decoding processes; 0: one a core, 1: in this process.
    """
    known = store.known()
    todo = [(key, path) for key, path in dict(files).items() if key not in known]
    chunks = [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)]
    done = 0
    for rows in _mapped(chunks, settings, workers or os.cpu_count() or 1):
        store.put(pd.DataFrame(rows, columns=CANVAS_SCHEMA.names))
        done += len(rows)
        progress(done, len(todo))


def canvases_of(
    files: Sequence[tuple[str, Path]],
    settings: ImagingSettings,
    store: ContentStore,
    *,
    workers: int = 0,
) -> npt.NDArray[np.uint8]:
    """Canvases (N, height, width) in the order of the files; those not in the store are made."""
    prepare_files(files, settings, store, workers=workers)
    ids = [image_id for image_id, _ in files]
    return stack_canvases(store.get(ids).loc[ids], settings.height, settings.width)


def _mapped(
    chunks: list[list[tuple[str, Path]]], settings: ImagingSettings, workers: int
) -> Iterator[list[tuple[object, ...]]]:
    if workers == 1 or len(chunks) < 2:
        yield from (_prepare_chunk(chunk, settings) for chunk in chunks)
        return
    # joblib's processes are neither forked from this threaded one nor import the user's script.
    yield from Parallel(n_jobs=workers, return_as="generator")(
        delayed(_prepare_chunk)(chunk, settings) for chunk in chunks
    )


def _prepare_chunk(
    chunk: list[tuple[str, Path]], settings: ImagingSettings
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for image_id, path in chunk:
        canvas = _prepare_file(image_id, path, settings)
        rows.append(
            (
                image_id,
                np.ascontiguousarray(canvas.pixels).tobytes(),
                canvas.width,
                canvas.height,
                canvas.ink_fraction,
                canvas.quality,
                canvas.detail,
                imaging.perceptual_hash(canvas.pixels) if canvas.usable else "",
            )
        )
    return rows


def _prepare_file(image_id: str, path: Path, settings: ImagingSettings) -> imaging.Canvas:
    empty = np.zeros((settings.height, settings.width), np.uint8)
    try:
        data = path.read_bytes()
    except OSError as error:
        detail = f"The file could not be read ({error.strerror or error})."
        return imaging.Canvas(empty, 0, 0, 0.0, "unreadable", detail)
    if sha256_of(data) != image_id:
        detail = "The file changed while it was being read; run again."
        return imaging.Canvas(empty, 0, 0, 0.0, "unreadable", detail)
    return imaging.prepare(data, settings)
