"""From the bytes of a file to grey pixels, upright, with limits: pictures and pages of PDFs."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

if TYPE_CHECKING:
    from siamese.config import ImagingSettings

Grey = npt.NDArray[np.uint8]
Quality = Literal[
    "ok", "clipped", "scattered",
    "unreadable", "too_large", "too_small", "blank", "overfull",
]  # fmt: skip

#: Decoders that are tried; Pillow has others that start programs (PostScript).
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_PDF_DPI = 200  # as most scanners do; PDF lengths are in 1/72 inch


class ImageRefused(ValueError):
    """A picture that cannot be used, with the reason as a :data:`Quality`."""

    def __init__(self, quality: Quality, detail: str) -> None:
        super().__init__(detail)
        self.quality: Quality = quality
        self.detail = detail


@dataclass(frozen=True)
class Scan:
    """Grey pixels, and how many the picture had as it came."""

    grey: Grey
    width: int
    height: int


def decode(data: bytes, settings: ImagingSettings, page: int = 1) -> Grey:
    """Decode to 8-bit grey, upright, transparent parts white: :func:`read_scan` in full size."""
    return read_scan(data, settings, page).grey


def read_scan(
    data: bytes, settings: ImagingSettings, page: int = 1, enough: int | None = None
) -> Scan:
    """Decode to 8-bit grey, upright, transparent parts white.

    Limits on bytes and pixels are checked before anything is decoded.

    Parameters
    ----------
    enough : pixels along the longer side that will do. A JPEG that would be reduced by an even
        factor to no fewer is decoded at a half, a quarter or an eighth at once.

    Raises
    ------
    ImageRefused : ``unreadable`` or ``too_large``.
    """
    if len(data) > settings.max_bytes:
        raise ImageRefused(
            "too_large", f"The file has {len(data):,} bytes; the limit is {settings.max_bytes:,}."
        )
    try:
        if data.startswith(b"%PDF-"):
            grey = render_pdf_page(data, settings, page)
            return Scan(grey, grey.shape[1], grey.shape[0])
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            if page > 1:
                pages = getattr(image, "n_frames", 1)
                if page > pages:
                    told = f"There is no page {page}: the file has {pages}."
                    raise ImageRefused("unreadable", told)
                image.seek(page - 1)
            pixels = image.width * image.height
            if pixels > settings.max_pixels:
                raise ImageRefused(
                    "too_large",
                    f"The picture is {image.width} × {image.height} pixels; "
                    f"the limit is {settings.max_pixels:,} in all.",
                )
            width, height = image.size
            if enough and isinstance(image, JpegImageFile):
                _draft(image, max(image.size) // enough)
            upright = ImageOps.exif_transpose(image)
            if upright.size != image.size:
                width, height = height, width
            return Scan(_to_grey(upright), width, height)
    except ImageRefused:
        raise
    except MemoryError as error:
        told = "Decoding the picture takes more memory than there is for it."
        raise ImageRefused("too_large", told) from error
    except Image.DecompressionBombError as error:
        raise ImageRefused("too_large", f"Decoding was refused: {error}") from error
    # Pillow's decoders raise nearly any exception on hostile bytes; each is one bad picture.
    except Exception as error:
        reason = str(error) if str(error) and "BytesIO" not in str(error) else "not a known picture"
        raise ImageRefused("unreadable", f"The file could not be decoded ({reason}).") from error


def render_pdf_page(data: bytes, settings: ImagingSettings, page: int) -> Grey:
    """One page of a PDF in grey, at 200 dpi or less where that would be too large.

    Raises
    ------
    ImageRefused : no such page, or pypdfium2 is not installed.
    """
    try:
        import pypdfium2  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        told = "Reading PDF pages needs: pip install pypdfium2"
        raise ImageRefused("unreadable", told) from error
    with pypdfium2.PdfDocument(data) as document:
        if page > len(document):
            raise ImageRefused(
                "unreadable", f"There is no page {page}: the file has {len(document)}."
            )
        sheet = document[page - 1]
        width, height = sheet.get_size()
        scale = min(_PDF_DPI / 72, (settings.max_pixels / max(width * height, 1)) ** 0.5)
        return np.asarray(sheet.render(scale=scale, grayscale=True).to_pil().convert("L"), np.uint8)


def _draft(jpeg: JpegImageFile, factor: int) -> None:
    """Have a JPEG decoded that many times as small, as far as its blocks of 8 x 8 allow."""
    whole = math.gcd(factor, 8)
    if factor > 1 and whole > 1:
        jpeg.draft("L", (max(jpeg.width // whole, 1), max(jpeg.height // whole, 1)))


def _to_grey(image: Image.Image) -> Grey:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max() > 255 else 255.0
        return (np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        image = Image.alpha_composite(paper, coloured)
    return np.asarray(image.convert("L"), dtype=np.uint8)
