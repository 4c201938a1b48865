"""The embedded default: a generated dataset of writers, genuine signatures and forgeries."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from loky import ProcessPoolExecutor
from PIL import Image

from siamese import handwriting
from siamese.config import SourceSettings
from siamese.files import code_version, fingerprint, write_text


def fetch(settings: SourceSettings, cache: Path, seed: int) -> Path:
    """Generate the dataset once for a seed and size, and return its folder.

    The folder is a ``manifest`` source: ``manifest.csv`` beside one folder a writer.
    """
    name = fingerprint(seed, settings.writers, settings.images, code_version(handwriting))
    folder = cache / "synthetic" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):  # for another run's
        if not (folder / "manifest.csv").is_file():
            _generate(folder, settings, seed)
    return folder


def _generate(folder: Path, settings: SourceSettings, seed: int) -> None:
    begun = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(begun, ignore_errors=True)
    write = partial(_write_writer, begun, settings.images, seed)
    with ProcessPoolExecutor() as processes:
        made = list(processes.map(write, range(1, settings.writers + 1)))
    rows = [row for writer_rows in made for row in writer_rows]
    _write_csv(begun / "manifest.csv", ("path", "writer", "kind"), rows)
    shutil.rmtree(folder, ignore_errors=True)
    begun.rename(folder)


def _write_writer(root: Path, images: int, seed: int, writer: int) -> list[tuple[str, str, str]]:
    rng = np.random.default_rng((seed, writer))
    plan = handwriting.new_writer(rng)
    rows = []
    for kind, vary in (
        ("genuine", handwriting.genuine_variant),
        ("skilled_forgery", handwriting.skilled_forgery),
    ):
        for number in range(1, images + 1):
            data = handwriting.scan(handwriting.draw(vary(plan, rng), rng), rng)
            suffix = "jpg" if data.startswith(b"\xff\xd8") else "png"
            path = root / f"{writer:03d}" / f"{kind}_{number:02d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            rows.append((str(path.relative_to(root)), f"{writer:03d}", kind))
    return rows


def write_claims(folder: Path, seed: int, claims: int = 60) -> int:
    """Write ``claims/`` (by manifest) and ``truth.csv`` for a demonstration; returns how many.

    Half are genuine, a third skilled forgeries, the rest random; three references each. Six
    more are faulty: a blank page, a damaged file, a missing reference, a missing questioned
    picture, a pasted copy of a reference, and a picture far too small.
    """
    rng = np.random.default_rng((seed, 8))
    root = folder / "claims"
    root.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str]] = []
    truth: list[tuple[str, str]] = []

    def picture(name: str, plan: handwriting.Plan) -> str:
        (root / name).write_bytes(handwriting.scan(handwriting.draw(plan, rng), rng))
        return name

    for number in range(claims + len(_FAULTS)):
        claim = f"C-{number + 1:04d}"
        plan = handwriting.new_writer(rng)
        references = [
            picture(f"{claim}_reference_{i}.png", handwriting.genuine_variant(plan, rng))
            for i in (1, 2, 3)
        ]
        kind = "genuine" if number % 2 == 0 else "skilled_forgery" if number % 6 < 4 else "random"
        if number >= claims:
            kind = "genuine"
        drawn = {
            "genuine": handwriting.genuine_variant,
            "skilled_forgery": handwriting.skilled_forgery,
            "random": lambda _, rng: handwriting.new_writer(rng),
        }[kind](plan, rng)
        questioned = picture(f"{claim}_questioned.png", drawn)
        if number >= claims:
            kind = _FAULTS[number - claims]
            questioned, references = _spoil(root, kind, questioned, references)
        amount = f"{rng.lognormal(6.5, 1.0):.2f}"
        rows += [(claim, questioned, reference, amount) for reference in references]
        truth.append((claim, kind))
    _write_csv(root / "claims.csv", ("claim_id", "questioned", "reference", "amount"), rows)
    _write_csv(folder / "truth.csv", ("claim_id", "kind"), truth)
    return claims + len(_FAULTS)


_FAULTS = ("blank", "damaged", "no_reference_file", "no_questioned_file", "pasted", "tiny")


def _spoil(root: Path, fault: str, questioned: str, references: list[str]) -> tuple[str, list[str]]:
    """Make one claim faulty in one way; returns the names that the manifest gives."""
    path = root / questioned
    if fault == "blank":
        Image.new("L", (400, 160), 244).save(path, "PNG")
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:300])
    elif fault == "no_reference_file":
        for name in references:
            (root / name).unlink()
    elif fault == "no_questioned_file":
        path.unlink()
    elif fault == "pasted":
        with Image.open(root / references[0]) as image:
            image.save(path, "PNG")
    elif fault == "tiny":
        with Image.open(path) as image:
            image.resize((12, 6)).save(path, "PNG")
    return questioned, references


def _write_csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(header)
    table.writerows(rows)
    write_text(path, text.getvalue())
