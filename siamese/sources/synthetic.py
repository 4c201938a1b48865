"""The embedded default: a generated dataset of writers, genuine signatures and forgeries."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np

from siamese import handwriting
from siamese.config import SourceSettings
from siamese.files import code_version, fingerprint, write_text


def fetch(settings: SourceSettings, cache: Path, seed: int) -> Path:
    """Generate the dataset once for a seed and size, and return its folder.

    The folder is a ``manifest`` source: ``manifest.csv`` beside one folder a writer.
    """
    name = fingerprint(seed, settings.writers, settings.images, code_version(handwriting))
    folder = cache / "synthetic" / name
    if (folder / "manifest.csv").is_file():
        return folder
    partial = folder.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    rows = [
        row
        for writer in range(1, settings.writers + 1)
        for row in _write_writer(partial, writer, settings.images, seed)
    ]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["path", "writer", "kind"])
    table.writerows(rows)
    write_text(partial / "manifest.csv", text.getvalue())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _write_writer(root: Path, writer: int, images: int, seed: int) -> list[tuple[str, str, str]]:
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
