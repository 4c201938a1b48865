"""Accuracy on writers never seen: ours, its parts taken out in turn, and two baselines.

    python benchmarks/accuracy.py [--steps 250] [--only NAME ...]

Trains each row on Dutch writers 001-040 (Kaggle copy) and Hindi writers 001-072 (BHSig260),
selects and calibrates on Dutch 041-048 and Hindi 073-080, and measures all on the same pairs of
Dutch 049-069 and Hindi 081-100. Rows that docs/accuracy.json has of the same steps, seed and code
are kept, so that a run that was stopped goes on; those whose vectors data/benchmarks has are only
measured again; --only trains some of them, again. Writes docs/accuracy.md, .json and .png.
Signatures are read from ../shared/data, or the folder that SIGNATURE_DATA names.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accuracy_code import code, code_of_vectors
from accuracy_data import SEED, SPLITS, Data
from accuracy_figures import AS_THEY_ARE, Floats, measure
from accuracy_page import write_page
from accuracy_rows import ROWS, Row
from accuracy_shifts import shifts
from machine import machine

from siamese import training
from siamese.calibration import CalibrationError
from siamese.files import fingerprint, replace_file

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Made:
    """What a row's training came to.

    vectors : of all pictures :data:`AS_THEY_ARE`, and as those of calibration and test writers
    are after each of ``WORSE``, nan where imaging refuses them. told : how long it took, and where.
    """

    vectors: Mapping[str, Floats]
    told: Mapping[str, Any]

    def keep(self, path: Path) -> None:
        """In a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        everything = {**self.vectors, "told": np.array(json.dumps(self.told))}
        with replace_file(path) as file:
            np.savez(file, **cast("dict[str, Any]", everything))

    @staticmethod
    def kept(path: Path) -> Made:
        with np.load(path, allow_pickle=False) as found:
            vectors = {name: found[name] for name in found.files}
        return Made(vectors, json.loads(str(vectors.pop("told"))))


def make(data: Data, row: Row, steps: int) -> Made:
    """Train a row and embed all pictures."""
    canvases = getattr(data, row.canvases)
    began = time.process_time()
    embed = row.train(data, canvases, steps)
    minutes = round((time.process_time() - began) / 60, 1)
    vectors = {AS_THEY_ARE: embed(canvases)}
    changed = (data.images["split"] != "train").to_numpy()
    for name, (worse, taken) in data.worse.items() if row.rescanned else ():
        vectors[name] = np.where(taken[changed, None], embed(worse[changed]), np.nan)
    return Made(vectors, {"minutes": minutes, **where()})


def where() -> dict[str, Any]:
    """What a row was trained on; in what precision follows from it."""
    with training.autocast(torch.device("cpu")):
        mixed = torch.is_autocast_enabled("cpu")
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "precision": "bfloat16" if mixed else "float32",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--steps", type=int, default=250, help="of each of ours")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="these rows, again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the results")
    arguments = parser.parse_args()
    path = arguments.out / "accuracy.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    rows = before.get("rows", {})
    same: dict[str, Any] = {"steps": arguments.steps, "seed": SEED, "code": code()}
    made_by = code_of_vectors()  # now, as what runs was imported: somebody may edit it meanwhile
    data = Data(ROOT / "data" / "store")
    same["pictures"] = fingerprint(data.images["image_id"].tolist())
    vectors = ROOT / "data" / "benchmarks" / fingerprint(made_by, same["pictures"])
    kept = before.get("shifts") if before.get("code") == same["code"] else None
    everything = {**same, "splits": SPLITS, "shifts": kept or shifts(data), "rows": rows}
    for name, row in ROWS.items():
        known = {key: rows.get(name, {}).get(key) for key in same} == same
        if name not in arguments.only if arguments.only else known:
            continue
        print(row.title, flush=True)
        path_of_vectors = vectors / f"{name}-{arguments.steps}.npz"
        if arguments.only or not path_of_vectors.is_file():
            make(data, row, arguments.steps).keep(path_of_vectors)
        made = Made.kept(path_of_vectors)
        told: dict[str, Any] = {"title": row.title, **same, **made.told}
        told["sources"] = list(row.sources)
        try:
            told["figures"] = measure(data, row.sources, made.vectors)
        except CalibrationError as error:
            told["failed"] = str(error)
        rows[name] = told
        everything["rows"] = {key: rows[key] for key in ROWS if key in rows}
        arguments.out.mkdir(exist_ok=True)
        path.write_text(json.dumps(everything) + "\n")
        write_page(everything, arguments.out)
    write_page(everything, arguments.out)
    print(f"{arguments.out / 'accuracy.md'} has all rows. --only NAME trains some again.")


if __name__ == "__main__":
    main()
