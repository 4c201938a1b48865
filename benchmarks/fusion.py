"""Ways to fuse the distances to several references, on the calibration writers of a data folder.

    siamese train --source kaggle --path ... --data-dir data
    python benchmarks/fusion.py data

Prints EER_skilled and EER_random of each way for 2, 3 and 5 references, ten draws of references a
writer. Test writers are not touched: this is how the way in ``siamese.trials.fuse`` was chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from siamese.loading import load_settings
from siamese.metrics import eer
from siamese.tables import IMAGES
from siamese.training import SignatureSet
from siamese.trials import spread_of
from siamese.verifier import Verifier
from tasks.pairs import read_pairs
from tasks.signatures import signature_set
from tasks.stage import Output

Floats = npt.NDArray[np.float64]

WAYS: dict[str, Callable[[Floats, float], Floats]] = {
    "mean": lambda d, spread: d.mean(1),
    "least": lambda d, spread: d.min(1),
    "mean - 1/4 spread": lambda d, spread: d.mean(1) - spread / 4,
    "mean - 1/2 spread": lambda d, spread: d.mean(1) - spread / 2,
    "mean - spread": lambda d, spread: d.mean(1) - spread,
}


def latest(data: Path, stage: str) -> Output:
    """The newest output of a stage."""
    folders = [path for path in (data / "stages" / stage).iterdir() if path.name[0] != "."]
    path = max(folders, key=lambda folder: folder.stat().st_mtime)
    return Output(stage=stage, key=path.name, path=path)


def fused(signatures: SignatureSet, vectors: npt.NDArray[np.float32], n: int) -> dict[str, Floats]:
    """Fused distances of each way, and under ``kind`` 0 genuine, 1 skilled, 2 random."""
    found: dict[str, list[Floats]] = {name: [] for name in (*WAYS, "kind")}
    for writer in np.unique(signatures.writers):
        rng = np.random.default_rng(1)
        mine = signatures.writers == writer
        genuine = np.flatnonzero(mine & signatures.genuine)
        skilled = np.flatnonzero(mine & ~signatures.genuine)
        others = np.flatnonzero(~mine & signatures.genuine)
        for _ in range(10):
            order = rng.permutation(genuine)
            random = rng.choice(others, 20, replace=False)
            asked = [order[n:], skilled, random]
            references = vectors[order[:n]]
            gaps = np.linalg.norm(vectors[np.concatenate(asked)][:, None] - references, axis=2)
            for name, way in WAYS.items():
                found[name].append(way(gaps.astype(np.float64), float(spread_of(references))))
            found["kind"].append(np.repeat([0.0, 1.0, 2.0], [len(rows) for rows in asked]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def main() -> None:
    data = Path(sys.argv[1]).resolve()
    settings = load_settings(None, {"data_dir": data})
    images = IMAGES.read(latest(data, "split") / "images.parquet")
    pairs = read_pairs(latest(data, "pairs"), "calibration")
    signatures = signature_set(settings, images, pairs)
    vectors = Verifier.load(latest(data, "calibrate").path).embed(signatures.canvases)
    print(f"{len(np.unique(signatures.writers))} calibration writers")
    for n in (2, 3, 5):
        result = fused(signatures, vectors, n)
        for name in WAYS:
            errors = []
            for kind in (1, 2):
                keep = np.isin(result["kind"], [0, kind])
                labels = (result["kind"][keep] == 0).astype(np.int64)
                errors.append(float(eer(-result[name][keep], labels)))
            print(f"{n} references, {name:18} EER_skilled {errors[0]:.1%}, random {errors[1]:.1%}")


if __name__ == "__main__":
    main()
