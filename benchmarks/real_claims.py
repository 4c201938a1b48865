"""A folder of claims from real signatures of test and validation writers, some of them broken.

    python benchmarks/real_claims.py FOLDER [--claims 2000] [--references 1 5] [--broken 20]

Signatures are read from ../shared/data, or the folder that SIGNATURE_DATA names. Writes
``claims.csv``, ``pictures/``, and beside the folder ``FOLDER.truth.csv`` with the kind of each
claim, or the way in which it was broken.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SHARED = Path(os.environ.get("SIGNATURE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@dataclass(frozen=True)
class Writer:
    """One writer's files."""

    name: str
    genuine: list[Path]
    forged: list[Path]


def writers(shared: Path) -> list[Writer]:
    """Dutch validation and test writers (041-069), Hindi test writers (081-100)."""
    found = []
    train = shared / "kaggle-signature-verification" / "sign_data" / "train"
    for number in range(41, 70):
        genuine, forged = (
            sorted((train / name).glob("*")) for name in (f"{number:03d}", f"{number:03d}_forg")
        )
        if genuine:
            found.append(Writer(f"dutch-{number:03d}", genuine, forged))
    for number in range(81, 101):
        folder = shared / "BHSig260" / "Hindi" / f"{number:03d}"
        genuine, forged = (sorted(folder.glob(f"*-{kind}-*")) for kind in "GF")
        if genuine:
            found.append(Writer(f"hindi-{number:03d}", genuine, forged))
    if not found:
        sys.exit(f"Real signatures are not at {shared}; set SIGNATURE_DATA to their folder.")
    return found


def _blank(path: Path) -> None:
    Image.new("L", (400, 160), 244).save(path, "PNG")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _text(path: Path) -> None:
    path.write_text("claim form, page 1 of 3")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000), 1).save(path, "PNG")


def _tiny(path: Path) -> None:
    page = np.full((40, 60), 250, np.uint8)
    page[15:21, 20:32] = 30
    Image.fromarray(page).save(path, "PNG")


def _overfull(path: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.choice([0, 255], (200, 400), p=[0.6, 0.4]).astype(np.uint8)).save(path)


#: Ways to break a claim: the reason that it must get, and what is done to its questioned picture.
WAYS: dict[str, tuple[str, Callable[[Path], None] | None]] = {
    "blank page": ("questioned_blank", _blank),
    "truncated file": ("questioned_unreadable", _truncated),
    "text named as a picture": ("questioned_unreadable", _text),
    "empty file": ("questioned_unreadable", _empty),
    "decompression bomb": ("questioned_too_large", _bomb),
    "tiny mark": ("questioned_too_small", _tiny),
    "solid noise": ("questioned_overfull", _overfull),
    "questioned file missing": ("questioned_missing", None),
    "reference files missing": ("reference_missing", None),
    "path out of the folder": ("path_outside", None),
}


def build(
    shared: Path, root: Path, claims: int, references: list[int], broken: int, seed: int = 2011
) -> pd.DataFrame:
    """Write the folder; returns one row a claim: ``claim_id, kind, n_references, reason``.

    ``reason`` is empty for a claim that must be compared. Every way of breaking is used in turn.
    """
    rng = np.random.default_rng(seed)
    everyone = writers(shared)
    pictures = root / "pictures"
    pictures.mkdir(parents=True)

    def copied(path: Path) -> str:
        # The folder keeps apart files of one name in genuine and forged folders.
        target = pictures / f"{path.parent.name}-{path.name}"
        if not target.exists():
            shutil.copy(path, target)
        return f"pictures/{target.name}"

    rows: list[tuple[str, str, str, str]] = []
    truth: list[tuple[str, str, int, str]] = []
    spoilt = set(rng.permutation(claims)[:broken].tolist())
    ways = list(WAYS)
    for number in range(claims):
        claim = f"R-{number:06d}"
        writer = everyone[number % len(everyone)]
        n = references[(number // len(everyone)) % len(references)]
        order = [writer.genuine[i] for i in rng.permutation(len(writer.genuine))]
        kind = str(rng.choice(["genuine", "skilled_forgery", "random_forgery"], p=[0.7, 0.2, 0.1]))
        other = everyone[(number + int(rng.integers(1, len(everyone)))) % len(everyone)]
        asked = {
            "genuine": order[n],
            "skilled_forgery": writer.forged[int(rng.integers(len(writer.forged)))],
            "random_forgery": other.genuine[int(rng.integers(len(other.genuine)))],
        }[kind]
        questioned, named, reason = copied(asked), [copied(p) for p in order[:n]], ""
        if number in spoilt:
            kind = ways[len([t for t in truth if t[3]]) % len(ways)]
            reason, spoil = WAYS[kind]
            questioned = f"pictures/{claim}{asked.suffix}"
            if spoil:
                shutil.copy(asked, root / questioned)
                spoil(root / questioned)
            elif kind == "reference files missing":
                shutil.copy(asked, root / questioned)
                named = [f"pictures/{claim}-gone-{i}.png" for i in range(n)]
            elif kind == "path out of the folder":
                questioned = f"../{claim}.png"
        amount = f"{rng.lognormal(6.5, 1.2):.2f}"
        rows += [(claim, questioned, name, amount) for name in named]
        # The datasets hold some files twice; one signature is one reference.
        distinct = len({path.read_bytes() for path in order[:n]})
        truth.append((claim, kind, distinct, reason))
    table = pd.DataFrame(rows, columns=["claim_id", "questioned", "reference", "amount"])
    table.to_csv(root / "claims.csv", index=False)
    return pd.DataFrame(truth, columns=["claim_id", "kind", "n_references", "reason"])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--claims", type=int, default=2000)
    parser.add_argument("--references", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--broken", type=int, default=20)
    arguments = parser.parse_args()
    truth = build(
        SHARED, arguments.folder, arguments.claims, arguments.references, arguments.broken
    )
    path = arguments.folder.with_name(f"{arguments.folder.name}.truth.csv")
    truth.to_csv(path, index=False)
    print(f"{len(truth):,} claims in {arguments.folder}, what each is in {path}")


if __name__ == "__main__":
    main()
