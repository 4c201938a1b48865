"""Files made to do harm: each gets its row, in bounded time and memory, whatever is in it."""

from __future__ import annotations

import io
import os
import random
import socket
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siamese import handwriting, imaging
from siamese.canvases import prepare_file, refused_file
from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.files import sha256_of
from siamese.imaging import QUALITIES
from siamese.intake import read_claims

SETTINGS = ImagingSettings(max_pixels=4_000_000, max_bytes=2_000_000)
#: More by this variable: FUZZ_CASES=100000 pytest tests/test_hostile.py
LENGTHS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
CASES = int(os.environ.get("FUZZ_CASES", "5000"))


def seeds() -> list[bytes]:
    """One signature in every format and many modes."""
    rng = np.random.default_rng(1)
    page = handwriting.draw(handwriting.genuine_variant(handwriting.new_writer(rng), rng), rng)
    found = []
    for form, modes in {
        "PNG": ("L", "RGB", "RGBA", "P", "1", "I;16"),
        "JPEG": ("L", "RGB", "CMYK"),
        "TIFF": ("L", "RGB", "1", "CMYK"),
        "BMP": ("L", "RGB"),
        "WEBP": ("RGB", "RGBA"),
    }.items():
        for mode in modes:
            out = io.BytesIO()
            picture = page.convert("L") if mode == "I;16" else page.convert(mode)
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture, np.uint16) * 257)
            picture.save(out, form)
            found.append(out.getvalue())
    pages, pdf = io.BytesIO(), io.BytesIO()
    page.save(pages, "GIF", save_all=True, append_images=[page.rotate(3)])
    page.convert("L").save(pdf, "PDF")
    return [*found, pages.getvalue(), pdf.getvalue()]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Bits turned, pieces cut out, doubled, cut off, taken from another file; lengths forged."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(made)) if made else 0
        # Headers are where it hurts most.
        at = chance.choice([at, min(at, chance.randrange(64))])
        length = chance.choice([1, 2, 4, 16, 256])
        match chance.randrange(6):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del made[at : at + length]
            case 2:
                made[at:at] = made[at : at + length] * chance.choice([1, 2, 50])
            case 3:
                del made[at + length :]
            case 4:
                made[at : at + length] = other[at : at + length]
            case _:
                made[at : at + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
                )
    return bytes(made)


def prepared(number: int, files: list[bytes]) -> tuple[str, str]:
    """Quality and detail of one mutated file; the same for the same number."""
    chance = random.Random(number)
    data = mutated(chance.choice(files), chance.choice(files), chance)
    canvas = imaging.prepare(data, SETTINGS)
    assert canvas.pixels.shape == (SETTINGS.height, SETTINGS.width)
    return canvas.quality, canvas.detail


def test_mutated_files_never_crash_hang_or_hoard() -> None:
    with Decoders(2, patience=20) as decoders:
        work = partial(prepared, files=seeds())
        parts = decoders.map(work, range(CASES), lambda number, reason: (f"case {number}", reason))
        found = [one for part in parts for one in part]
    assert len(found) == CASES
    strange = [one for one in found if one[0] not in QUALITIES]
    assert not strange  # no decoder had to be ended
    refused = {quality for quality, _ in found}
    assert {"ok", "unreadable"} <= refused
    assert all(detail.endswith(".") for quality, detail in found if quality != "ok")


@pytest.mark.parametrize(
    ("size", "quality"), [((1, 1), "blank"), ((30_000, 20), "blank"), ((3000, 3000), "too_large")]
)
def test_sizes_at_the_edge(size: tuple[int, int], quality: str) -> None:
    out = io.BytesIO()
    Image.new("L", size, 255).save(out, "PNG")
    assert imaging.prepare(out.getvalue(), SETTINGS).quality == quality


def test_animated_and_misnamed_files_and_polyglots(tmp_path: Path) -> None:
    first, *_, gif, pdf = seeds()
    assert imaging.prepare(gif, SETTINGS).quality == "unreadable"  # not a format of signatures
    assert imaging.prepare(first + b"<script>alert(1)</script>", SETTINGS).quality == "ok"
    assert imaging.prepare(b"GIF89a" + first, SETTINGS).quality == "unreadable"
    assert imaging.prepare(pdf + first, SETTINGS).quality in ("ok", "unreadable")
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(first)
    (row, _) = prepare_file((sha256_of(first), path), SETTINGS)
    assert row[5] == "ok"


NO_UTF8 = b"not\xffutf8".decode("utf-8", "surrogateescape")
STRANGE = (
    "new\nline", 'quo"te\'s', "<script>alert(1)<_script>", "=1+1", "+1", "-1", "@x",
    "\u202egnp.exe", "a" * 240,
)  # fmt: skip


def test_strange_names_links_pipes_and_sockets_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, data = tmp_path / "claims", seeds()[0]
    for name in (*STRANGE, "pipe", "socket", "locked", "link", NO_UTF8):
        (root / name).mkdir(parents=True)
        for stem in ("questioned", "reference"):
            (root / name / f"{stem}.png").write_bytes(data)
    for name in ("pipe", "socket", "link"):
        (root / name / "questioned.png").unlink()
    os.mkfifo(root / "pipe" / "questioned.png")
    (tmp_path / "secret.png").write_bytes(data)
    (root / "link" / "questioned.png").symlink_to(tmp_path / "secret.png")
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(root / "socket")  # its address may be 100 characters long
        made.bind("questioned.png")
    (root / "locked" / "questioned.png").chmod(0)
    found = {claim.claim_id: claim for claim in read_claims(root)}
    assert len(found) == len(STRANGE) + 5
    assert found["pipe"].problem == "questioned_missing"
    assert found["socket"].problem == "questioned_missing"
    assert found["link"].problem == "no_questioned"  # out of the folder, so not among its pictures
    for name in STRANGE:
        assert not found[name].problem
    assert not found["not\\udcffutf8"].problem


def test_a_file_that_cannot_be_read_has_its_row(tmp_path: Path) -> None:
    path = tmp_path / "gone.png"
    row, lasting = prepare_file(("0" * 64, path), SETTINGS)
    assert (row[5], lasting) == ("unreadable", False)
    assert "No such file" in row[6]
    assert refused_file(("0" * 64, path), "why", SETTINGS)[0][6] == (
        "The file could not be decoded (why)."
    )
