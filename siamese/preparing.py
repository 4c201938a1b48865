"""Pictures to canvases, each once ever, in a pool of processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed

from siamese import config, copies, imaging
from siamese.config import ImagingSettings
from siamese.errors import InputError
from siamese.files import code_version, fingerprint, sha256_of
from siamese.store import CANVAS_SCHEMA, ContentStore, stack_canvases

_CHUNK = 64

Progress = Callable[[int, int], None]
File = tuple[str, Path] | tuple[str, Path, int]
Row = tuple[str, bytes, int, int, float, str, str, str]


def imaging_fingerprint(settings: ImagingSettings) -> str:
    """Names a way of making canvases: its settings and the code that does it."""
    return fingerprint(settings.model_dump(), code_version(copies, (config,)))


def page_id(file_id: str, page: int) -> str:
    """The image id of a page: the file's own sha256 for the first, another for each other."""
    return file_id if page == 1 else sha256_of(f"{file_id}#page={page}".encode())


def canvas_store(folder: Path, settings: ImagingSettings) -> ContentStore:
    """The store of canvases made with these settings, below ``folder``."""
    return ContentStore(folder / "canvases" / imaging_fingerprint(settings), CANVAS_SCHEMA)


def prepare_files(
    files: Sequence[File],
    settings: ImagingSettings,
    store: ContentStore,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Canvas, size, quality and hash of each file, made unless the store has them.

    Parameters
    ----------
    files : (image_id, path) or (image_id, path, page); an id that occurs twice is done once.
    workers : decoding processes; 0: one a core, 1: in this process.

    Returns
    -------
    Rows of :data:`CANVAS_SCHEMA`, indexed by ``image_id``. A file that cannot be read now has
    its row, with the reason, but is not stored: it may be read the next time.
    """
    distinct = {file[0]: file for file in files}
    known = store.get(list(distinct))
    todo = [file for image_id, file in distinct.items() if image_id not in known.index]
    chunks = [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)]
    done = 0
    made = [known]
    for results in _mapped(chunks, settings, workers or os.cpu_count() or 1):
        rows = pd.DataFrame([row for row, _ in results], columns=CANVAS_SCHEMA.names)
        store.put(rows[[lasting for _, lasting in results]])
        made.append(rows.set_index("image_id"))
        done += len(rows)
        progress(done, len(todo))
    return pd.concat(made) if len(made) > 1 else known


def canvases_of(
    files: Sequence[File],
    settings: ImagingSettings,
    store: ContentStore,
    *,
    workers: int = 0,
) -> npt.NDArray[np.uint8]:
    """Canvases (N, height, width) in the order of the files; those not in the store are made.

    Raises
    ------
    InputError : a picture can no longer be used.
    """
    rows = prepare_files(files, settings, store, workers=workers)
    rows = rows.loc[[file[0] for file in files]]
    lost = ~rows["quality"].isin(imaging.USABLE).to_numpy()
    if lost.any():
        first = int(np.flatnonzero(lost)[0])
        raise InputError(
            f"{lost.sum()} picture(s) can no longer be used, the first is {files[first][1]}. "
            f"{rows['quality_detail'].iloc[first]}"
        )
    return stack_canvases(rows, settings.height, settings.width)


def _mapped(
    chunks: list[list[File]], settings: ImagingSettings, workers: int
) -> Iterator[list[tuple[Row, bool]]]:
    if workers == 1 or len(chunks) < 2:
        yield from (_prepare_chunk(chunk, settings) for chunk in chunks)
        return
    # joblib's processes are neither forked from this threaded one nor import the user's script.
    yield from Parallel(n_jobs=workers, return_as="generator")(
        delayed(_prepare_chunk)(chunk, settings) for chunk in chunks
    )


def _prepare_chunk(chunk: list[File], settings: ImagingSettings) -> list[tuple[Row, bool]]:
    return [_prepare_file(*file, settings=settings) for file in chunk]


def _prepare_file(
    image_id: str, path: Path, page: int = 1, *, settings: ImagingSettings
) -> tuple[Row, bool]:
    """The row, and whether it follows from the content alone and so may be kept."""
    lasting = False
    try:
        if path.stat().st_size > settings.max_bytes:
            canvas = imaging.refused_canvas(
                "too_large", f"The file is over {settings.max_bytes:,} bytes.", settings
            )
        elif page_id(sha256_of(data := path.read_bytes()), page) != image_id:
            canvas = imaging.refused_canvas(
                "unreadable", "The file changed while it was read; run again.", settings
            )
        else:
            canvas, lasting = imaging.prepare(data, settings, page), True
    except OSError as error:
        reason = f"The file could not be read ({error.strerror or error})."
        canvas = imaging.refused_canvas("unreadable", reason, settings)
    row = (
        image_id,
        np.ascontiguousarray(canvas.pixels).tobytes(),
        canvas.width,
        canvas.height,
        canvas.ink_fraction,
        canvas.quality,
        canvas.detail,
        copies.perceptual_hash(canvas.pixels) if canvas.usable else "",
    )
    return row, lasting
