"""Pictures to canvases, each once ever, in a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from siamese import config, copies, imaging
from siamese.canvases import File, Row, prepare_file, refused_file
from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.errors import InputError, RunError
from siamese.files import code_version, fingerprint
from siamese.store import CANVAS_SCHEMA, ContentStore

_KEPT_AT = 512  # pictures that are made before they are put into the store
#: What is known of a picture besides its canvas.
FACTS = tuple(name for name in CANVAS_SCHEMA.names if name not in ("image_id", "canvas"))

Progress = Callable[[int, int], None]


def imaging_fingerprint(settings: ImagingSettings) -> str:
    """Names a way of making canvases: its settings and the code that does it."""
    code = (code_version(module, (config,)) for module in (imaging, copies))
    return fingerprint(settings.model_dump(), *code)


def canvas_store(folder: Path, settings: ImagingSettings) -> ContentStore:
    """The store of canvases made with these settings, below ``folder``."""
    return ContentStore(folder / "canvases" / imaging_fingerprint(settings), CANVAS_SCHEMA)


def prepare_files(
    files: Sequence[File],
    settings: ImagingSettings,
    store: ContentStore,
    *,
    decoders: Decoders | None = None,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Have the canvas of each file in the store, and return what is known of it besides.

    Parameters
    ----------
    files : (image_id, path) or (image_id, path, page); an id that occurs twice is done once.
    decoders : processes to use; none: some of its own, as many as ``workers`` says.
    workers : see :class:`siamese.decoding.Decoders`.

    Returns
    -------
    The columns :data:`FACTS`, indexed by ``image_id``. A file that cannot be read now has its
    row, with the reason, but is not stored: it may be read the next time.
    """
    distinct = {file[0]: file for file in files}
    known = store.get(list(distinct), FACTS)
    todo = [file for image_id, file in distinct.items() if image_id not in known.index]
    if not todo:
        return known
    made, waiting, done = [known], [], 0
    with Decoders(workers) if decoders is None else nullcontext(decoders) as pool:
        for results in pool.map(making(settings), todo, partial(refused_file, settings=settings)):
            waiting += results
            done += len(results)
            if len(waiting) >= _KEPT_AT or done == len(todo):
                rows = pd.DataFrame([row for row, _ in waiting], columns=CANVAS_SCHEMA.names)
                store.put(rows[[lasting for _, lasting in waiting]])
                made.append(rows.drop(columns="canvas").set_index("image_id"))
                del rows  # canvases, and those of the next are on their way
                waiting = []
            progress(done, len(todo))
    return pd.concat(made)


def making(settings: ImagingSettings) -> Callable[[File], tuple[Row, bool]]:
    """What decoders do for :func:`prepare_files`."""
    return partial(prepare_file, settings=without_pydantic(settings))


def without_pydantic(settings: ImagingSettings) -> ImagingSettings:
    """The same values, for a decoder: to import what checks them is two fifths of its start."""
    return cast("ImagingSettings", SimpleNamespace(**settings.model_dump()))


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
    return stored_canvases(store, rows.index.tolist(), settings)


def stored_canvases(
    store: ContentStore, image_ids: Sequence[str], settings: ImagingSettings
) -> npt.NDArray[np.uint8]:
    """Canvases (N, height, width) in the order of the ids, all of them in the store.

    Raises
    ------
    RunError : some were removed since they were seen there.
    """
    found = store.table(image_ids, ["canvas"])
    places = pc.index_in(pa.array(image_ids, pa.string()), found.column("image_id"))
    if places.null_count:
        raise RunError(
            f"{places.null_count:,} canvas(es) left {store.place.path} while they were needed "
            "(siamese prune?). Run the command again: they are made anew, and what is done is kept."
        )
    # One copy, in one piece, where pandas would make three; there may be over 2 GiB of them.
    cells = found.column("canvas").cast(pa.large_binary()).take(places).combine_chunks()
    pixels = np.frombuffer(cells.buffers()[2] or b"", np.uint8)
    return pixels.reshape(len(image_ids), settings.height, settings.width)
