"""From a picture's file to its row in the canvas store, and to its thumbnail.

What a decoding process runs: it imports little, so that one starts at once.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from siamese import copies, imaging, reading
from siamese.files import sha256_of

if TYPE_CHECKING:
    from siamese.config import ImagingSettings

File = tuple[str, Path] | tuple[str, Path, int]
Row = tuple[str, bytes, int, int, float, str, str, str]

_THUMBNAIL = (300, 120)  # pixels at most


def page_id(file_id: str, page: int) -> str:
    """The image id of a page: the file's own sha256 for the first, another for each other."""
    return file_id if page == 1 else sha256_of(f"{file_id}#page={page}".encode())


def prepare_file(file: File, settings: ImagingSettings) -> tuple[Row, bool]:
    """The row, and whether it follows from the content alone and so may be kept."""
    image_id, path, page = file if len(file) == 3 else (*file, 1)
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
    except MemoryError:
        reason = "Decoding the picture took more memory than a decoder may have."
        canvas = imaging.refused_canvas("too_large", reason, settings)
    return _row(image_id, canvas), lasting


def refused_file(file: File, reason: str, settings: ImagingSettings) -> tuple[Row, bool]:
    told = f"The file could not be decoded ({reason})."
    return _row(file[0], imaging.refused_canvas("unreadable", told, settings)), False


def thumbnail(place: tuple[Path, int], settings: ImagingSettings) -> bytes:
    """A small WebP of a page of a file; empty where it cannot be read."""
    path, page = place
    try:
        if path.stat().st_size > settings.max_bytes:
            return b""
        picture = Image.fromarray(reading.decode(path.read_bytes(), settings, page))
    except (OSError, ValueError, MemoryError):  # an ImageRefused is a ValueError
        return b""
    picture.thumbnail(_THUMBNAIL)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=60)
    return out.getvalue()


def page_as_png(place: tuple[Path, int], settings: ImagingSettings) -> tuple[bytes, str]:
    """A page of a file as a grey PNG, or nothing and why it cannot be one."""
    path, page = place
    out = io.BytesIO()
    try:
        Image.fromarray(reading.decode(path.read_bytes(), settings, page)).save(out, "PNG")
    except (OSError, ValueError, MemoryError) as error:  # an ImageRefused is a ValueError
        return b"", str(error) or "Decoding the picture took more memory than a decoder may have."
    return out.getvalue(), ""


def _row(image_id: str, canvas: imaging.Canvas) -> Row:
    return (
        image_id,
        canvas.pixels.tobytes(),
        canvas.width,
        canvas.height,
        canvas.ink_fraction,
        canvas.quality,
        canvas.detail,
        copies.perceptual_hash(canvas.pixels) if canvas.usable else "",
    )
