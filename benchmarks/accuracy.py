"""Accuracy on writers never seen: ours, its parts taken out in turn, and two baselines.

    python benchmarks/accuracy.py [--steps 250] [--only NAME ...]

Trains each row on Dutch writers 001-040 (Kaggle copy) and Hindi writers 001-072 (BHSig260),
selects and calibrates on Dutch 041-048 and Hindi 073-080, and measures all on the same pairs of
Dutch 049-069 and Hindi 081-100. Rows that docs/accuracy.json has of the same steps, seed and code
are kept, so that a run that was stopped goes on; --only does some of them, again. Writes
docs/accuracy.md, .json and .png. Signatures are read from ../shared/data, or the folder that
SIGNATURE_DATA names.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from accuracy_data import SEED, SOURCES, SPLITS, Canvases, Data
from accuracy_page import write_page
from accuracy_rows import ROOT, ROWS, Embed, Floats, Row, code
from accuracy_shifts import shifts
from machine import machine

from siamese import training
from siamese.calibration import CalibrationError, calibrate
from siamese.config import PairSettings, PolicySettings
from siamese.evaluation import evaluate
from siamese.stretch import near_hands, nearest_usual, stretch
from siamese.trials import Trials, fused_trials, pair_distances, single_trials

#: Vectors of all pictures, and which of those imaging took.
Scanned: TypeAlias = tuple[Floats, npt.NDArray[np.bool_]]


def measure(data: Data, canvases: Canvases, row: Row, embed: Embed) -> dict[str, Any]:
    """Figures by source: with one reference, with five, and on the anchor's mixed pairs."""
    ids = data.images["image_id"].to_numpy(str)
    vectors = embed(canvases)
    policy = PolicySettings(bootstrap=300)
    images = data.images
    genuine = (images["kind"] == "genuine").to_numpy()

    everything = vectors, np.ones(len(images), bool)

    def near(split: str, source: str, scanned: Scanned = everything) -> float:
        vectors, taken = scanned
        mine = ((images["split"] == split) & (images["source"] == source)).to_numpy()
        mine = mine & genuine & taken
        return near_hands(vectors[mine], images["writer"].to_numpy(str)[mine])

    # The baselines' vectors, and strokes with no network, are not of unit length.
    ours_alone = np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-3
    usual = nearest_usual([near("calibration", s) for s in row.sources]) if ours_alone else 0.0

    def trials(
        split: str, n: int, settings: PairSettings, source: str, scanned: Scanned = everything
    ) -> Trials:
        vectors, taken = scanned
        pairs = data.pairs(split, settings)
        pairs = pairs[pairs["writer"].str.startswith(f"{source}:")]
        pairs = pairs[pairs[["reference_id", "questioned_id"]].isin(set(ids[taken])).all(axis=1)]
        if n == 1:
            return single_trials(pairs, pair_distances(pairs, ids, vectors))
        return fused_trials(pairs, ids, vectors, n, SEED)

    def as_decided(
        n: int, settings: PairSettings, source: str, scanned: Scanned = everything
    ) -> Trials:
        """Test trials as bulk scoring would have them."""
        raw = trials("test", n, settings, source, scanned)
        return raw.stretched(stretch(near("test", source, scanned), usual)) if usual else raw

    def pooled(n: int) -> Trials:
        both = [trials("calibration", n, PairSettings(), s).to_frame() for s in row.sources]
        return Trials.from_frame(pd.concat(both))

    calibrations = {n: calibrate(pooled(n), policy) for n in (1, 5)}
    anchor = PairSettings(max_genuine=40, max_skilled=20, max_random=20)
    found: dict[str, Any] = {}
    for source in SOURCES:
        for n, calibration in calibrations.items():
            one = evaluate(as_decided(n, PairSettings(), source), calibration, policy, SEED)
            found[f"{source} {n}"] = one.to_dict()
        # Which ideas stay is read from these writers, whom no step is trained on.
        known = trials("calibration", 1, PairSettings(), source)
        found[f"{source} calibration"] = evaluate(known, calibrations[1], policy, SEED).to_dict()
        mixed = evaluate(as_decided(1, anchor, source), calibrations[1], policy, SEED)
        found[f"{source} mixed"] = mixed.to_dict()
        raw = evaluate(trials("test", 1, anchor, source), calibrations[1], policy, SEED)
        found[f"{source} mixed, not stretched"] = raw.to_dict()
        found[f"{source} stretch"] = stretch(near("test", source), usual)
        with mock.patch("siamese.trials.fuse", lambda gaps, spread: gaps.mean(axis=-1)):
            mean = as_decided(5, PairSettings(), source)
            found[f"{source} 5 mean"] = evaluate(
                mean, calibrate(pooled(5), policy), policy, SEED
            ).to_dict()
    changed = (images["split"] != "train").to_numpy()
    for name, (worse, taken) in data.worse.items() if row.rescanned else ():
        others = vectors.copy()
        others[changed] = embed(worse[changed])
        scanned = others, taken
        for source in SOURCES:
            known = trials("calibration", 1, PairSettings(), source, scanned)
            found[f"{source} calibration, {name}"] = evaluate(
                known, calibrations[1], policy, SEED
            ).to_dict()
            again = as_decided(1, PairSettings(), source, scanned)
            one = evaluate(again, calibrations[1], policy, SEED)
            mine = (images["source"] == source) & (images["split"] == "test")
            refused = float(1 - taken[mine].mean())
            found[f"{source} 1, {name}"] = {**one.to_dict(), "refused": refused}
    return found


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
    same = {"steps": arguments.steps, "seed": SEED, "code": code()}
    data = Data(ROOT / "data" / "store")
    kept = before.get("shifts") if before.get("code") == same["code"] else None
    apart = kept or shifts(data)
    for name, row in ROWS.items():
        known = {key: rows.get(name, {}).get(key) for key in same} == same
        if name not in arguments.only if arguments.only else known:
            continue
        print(row.title, flush=True)
        canvases = getattr(data, row.canvases)
        began = time.process_time()
        embed = row.train(data, canvases, arguments.steps)
        minutes = round((time.process_time() - began) / 60, 1)
        if known:  # what was trained may have been read from its checkpoint
            minutes = max(minutes, rows[name]["minutes"])
        made: dict[str, Any] = {"title": row.title, "minutes": minutes, **same, **where()}
        made["sources"] = list(row.sources)
        try:
            made["figures"] = measure(data, canvases, row, embed)
        except CalibrationError as error:
            made["failed"] = str(error)
        rows[name] = made
        everything = {
            **same,
            "splits": SPLITS,
            "shifts": apart,
            "rows": {key: rows[key] for key in ROWS if key in rows},
        }
        arguments.out.mkdir(exist_ok=True)
        path.write_text(json.dumps(everything) + "\n")
        write_page(everything, arguments.out)
    print((arguments.out / "accuracy.md").read_text())


if __name__ == "__main__":
    main()
