"""Imaging: any picture becomes a canvas or a reason, and nothing of the paper stays."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from siamese import imaging, reading
from siamese.blobs import find_blobs
from siamese.config import ImagingSettings
from siamese.copies import perceptual_hash, same_picture

SETTINGS = ImagingSettings()


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


def signature(size: tuple[int, int] = (400, 160), paper: int = 240, ink: int = 20) -> Image.Image:
    image = Image.new("L", size, paper)
    pen = ImageDraw.Draw(image)
    w, h = size
    pen.line(
        [(w * 0.1, h * 0.7), (w * 0.3, h * 0.2), (w * 0.5, h * 0.8), (w * 0.9, h * 0.3)],
        fill=ink,
        width=max(2, h // 30),
    )
    return image


def test_good_signature_is_ok_and_fills_the_canvas() -> None:
    canvas = imaging.prepare(encoded(signature()), SETTINGS)
    assert canvas.quality == "ok"
    assert canvas.pixels.shape == (SETTINGS.height, SETTINGS.width)
    top, bottom, left, right = imaging.ink_box(canvas.pixels)
    wide, high = right - left, bottom - top
    assert max(wide / SETTINGS.width, high / SETTINGS.height) > 0.9
    assert canvas.pixels.flags.writeable  # torch.from_numpy warns of others


@given(paper=st.integers(170, 255), ink=st.integers(0, 90), noise=st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_nothing_of_the_paper_or_the_pens_tone_is_left(paper: int, ink: int, noise: int) -> None:
    plain = imaging.prepare(encoded(signature()), SETTINGS).pixels
    grey = np.asarray(signature(paper=paper, ink=ink), np.int16)
    rng = np.random.default_rng(0)
    noisy = np.clip(grey + rng.integers(-noise, noise + 1, grey.shape), 0, 255).astype(np.uint8)
    canvas = imaging.prepare(encoded(Image.fromarray(noisy)), SETTINGS).pixels
    # The same strokes; the rim of a stroke may move by a pixel.
    assert ((canvas > 0) != (plain > 0)).mean() < 0.02
    assert canvas[:6].max() == plain[:6].max() == 0


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.5])
def test_scan_size_does_not_matter(scale: float) -> None:
    large = signature((round(400 * scale), round(160 * scale)))
    a = imaging.prepare(encoded(signature()), SETTINGS).pixels.astype(float)
    b = imaging.prepare(encoded(large), SETTINGS).pixels.astype(float)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.85


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("PNG", "L"),
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("TIFF", "L"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
    ],
)
def test_formats_and_modes_agree(form: str, mode: str) -> None:
    a = imaging.prepare(encoded(signature()), SETTINGS)
    b = imaging.prepare(encoded(signature().convert(mode), form), SETTINGS)
    assert b.quality == "ok"
    assert ((a.pixels > 0) != (b.pixels > 0)).mean() < 0.03


def test_sixteen_bits_are_scaled() -> None:
    deep = Image.fromarray((np.asarray(signature(), np.uint16) * 257).astype(np.uint16))
    assert imaging.prepare(encoded(deep), SETTINGS).quality == "ok"


def test_transparent_ground_is_white() -> None:
    ink = signature()
    clear = Image.merge("RGBA", [ink, ink, ink, ink.point(lambda v: 255 if v < 100 else 0)])
    assert imaging.prepare(encoded(clear), SETTINGS).quality == "ok"


@pytest.mark.parametrize(("width", "alike"), [(72, 0.6), (144, 0.85), (199, 0.9)])
def test_a_small_picture_shows_the_strokes_of_a_large_one(width: int, alike: float) -> None:
    large = Image.new("L", (1440, 576), 240)
    strokes = [(144, 403), (432, 115), (720, 461), (1296, 173)]
    ImageDraw.Draw(large).line(strokes, fill=20, width=10, joint="curve")
    small = large.resize((width, round(width * 0.4)), Image.Resampling.BOX)
    found = imaging.prepare(encoded(small, "JPEG"), SETTINGS)
    assert (found.quality, found.width) == ("ok", width)
    whole = imaging.prepare(encoded(large), SETTINGS)
    assert np.corrcoef((found.pixels > 0).ravel(), (whole.pixels > 0).ravel())[0, 1] > alike


@pytest.mark.parametrize(("times", "sooner"), [(1, 1), (2, 2), (3, 1), (4, 4), (6, 2), (9, 1)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small(times: int, sooner: int, orientation: int) -> None:
    large = signature((920 * times, 360 * times))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = large.rotate(90, expand=True) if orientation == 6 else large
    data = encoded(turned, "JPEG", exif=exif.tobytes())
    scan = reading.read_scan(data, SETTINGS, enough=900)
    assert (scan.width, scan.height) == large.size
    assert scan.grey.shape == (360 * times // sooner, 920 * times // sooner)
    small, whole = imaging.prepare(data, SETTINGS), imaging.prepare(encoded(large), SETTINGS)
    assert (small.width, small.height, small.quality) == (*large.size, "ok")
    assert ((small.pixels > 0) != (whole.pixels > 0)).mean() < 0.01


def test_dust_on_a_small_picture_is_dropped() -> None:
    small = signature((72, 29))
    dusty = small.copy()
    dusty.putpixel((69, 2), 20)
    assert np.array_equal(
        imaging.prepare(encoded(small), SETTINGS).pixels > 0,
        imaging.prepare(encoded(dusty), SETTINGS).pixels > 0,
    )


def test_a_narrow_jpeg_is_no_failure() -> None:
    data = encoded(Image.new("L", (7200, 7), 200), "JPEG")
    assert reading.read_scan(data, SETTINGS, enough=900).width == 7200


@pytest.mark.parametrize("orientation", [6, 9])
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_size_is_told_upright(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    scan = reading.read_scan(encoded(signature((160, 400)), form, exif=exif.tobytes()), SETTINGS)
    assert (scan.width, scan.height) == ((400, 160) if orientation == 6 else (160, 400))
    assert scan.grey.shape == (scan.height, scan.width)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = signature().rotate(90, expand=True)
    canvas = imaging.prepare(encoded(turned, "JPEG", exif=exif.tobytes()), SETTINGS)
    assert (canvas.width, canvas.height) == (400, 160)


@pytest.mark.parametrize(
    ("data", "quality"),
    [
        (b"", "unreadable"),
        (b"not a picture", "unreadable"),
        (encoded(signature())[:200], "unreadable"),
        (encoded(Image.new("L", (300, 100), 250)), "blank"),
        (encoded(Image.new("L", (300, 100), 0)), "blank"),
        (encoded(signature((300, 100)).resize((10, 5))), "too_small"),
        (encoded(Image.new("L", (1, 1), 0)), "blank"),
        (encoded(Image.eval(signature(), lambda v: 255 - v)), "overfull"),
    ],
)
def test_bad_pictures_get_a_reason(data: bytes, quality: str) -> None:
    canvas = imaging.prepare(data, SETTINGS)
    assert canvas.quality == quality
    assert canvas.detail.endswith(".")
    assert not canvas.usable
    assert not canvas.pixels.any()


def test_limits_come_before_decoding() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    assert imaging.prepare(bomb, SETTINGS).quality == "too_large"
    tight = ImagingSettings(max_bytes=100)
    assert imaging.prepare(encoded(signature()), tight).quality == "too_large"


def test_cut_off_and_scattered_ink_is_noticed_but_kept() -> None:
    cut = signature().crop((0, 0, 400, 60))
    ImageDraw.Draw(cut).line([(50, 59), (300, 59)], fill=10, width=3)
    assert imaging.prepare(encoded(cut), SETTINGS).quality == "clipped"
    apart = Image.new("L", (1200, 160), 240)
    apart.paste(signature((250, 160)), (0, 0))
    apart.paste(signature((250, 160)), (950, 0))
    found = imaging.prepare(encoded(apart), SETTINGS)
    assert (found.quality, found.usable) == ("scattered", True)


def hash_of(data: bytes) -> str:
    return perceptual_hash(imaging.prepare(data, SETTINGS).pixels)


def test_copies_are_known_through_encoding_and_other_signatures_are_not() -> None:
    copies = [
        encoded(signature(), "JPEG", quality=80),
        encoded(signature(), "BMP"),
        encoded(signature().convert("RGB").resize((800, 320))),
    ]
    other = encoded(signature().transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    found = same_picture(
        [hash_of(encoded(signature()))], [hash_of(data) for data in (*copies, other)]
    )
    assert found.tolist() == [[True, True, True, False]]


def test_postscript_never_reaches_an_interpreter() -> None:
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    assert imaging.prepare(page, SETTINGS).quality == "unreadable"


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_no_bytes_crash_it(data: bytes) -> None:
    assert imaging.prepare(b"\x89PNG\r\n\x1a\n" + data, SETTINGS).quality in imaging.QUALITIES


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(max_examples=300, deadline=None)
def test_blobs_are_what_touches_at_sides_and_corners(ink: npt.NDArray[np.bool_]) -> None:
    expected, count = ndimage.label(ink, structure=np.ones((3, 3)))
    found = np.zeros_like(expected)
    for row, start, end, blob in zip(*find_blobs(ink), strict=True):
        assert not found[row, start:end].any()
        found[row, start:end] = blob + 1
    # The same pixels, and one number of ours for each of theirs, background among them.
    assert ((found > 0) == ink).all()
    both = set(zip(expected.flat, found.flat, strict=True))
    assert len(both) == len(set(found.flat)) == count + (not ink.all())
