"""Where signatures lie that the registered champion has embedded, a colour a writer.

    python docs/examples/embedding.py references --out embedding.png

``references`` has a folder of pictures a writer, as for ``siamese enroll``. What is drawn is the
plane of most variance of the unit vectors: near each other there is near in the network's eyes,
though not the other way round. MLFLOW_TRACKING_URI: see verify.py.
"""

import argparse
import os
from pathlib import Path

import mlflow
import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from siamese import imaging
from siamese.embedding import embed
from siamese.verifier import Verifier

parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
parser.add_argument("folder", type=Path)
parser.add_argument("--out", type=Path, default=Path("embedding.png"))
arguments = parser.parse_args()

os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///data/mlflow/mlflow.db")
files = mlflow.artifacts.download_artifacts("models:/signature-verifier@champion")
verifier = Verifier.load(next(Path(files).rglob("verifier.json")).parent)

paths = [path for path in sorted(arguments.folder.glob("*/*")) if path.is_file()]
made = [imaging.prepare(path.read_bytes(), verifier.imaging_settings) for path in paths]
good = [(path, canvas.pixels) for path, canvas in zip(paths, made, strict=True) if canvas.usable]
vectors = embed(verifier.network, np.stack([pixels for _, pixels in good]))  # (N, E)
plane = PCA(2).fit_transform(vectors)  # (N, 2)

figure = Figure(figsize=(8, 6), layout="constrained")
axes = figure.subplots()
for writer in dict.fromkeys(path.parent.name for path, _ in good):
    mine = [row for row, (path, _) in enumerate(good) if path.parent.name == writer]
    axes.scatter(*plane[mine].T, label=writer, s=40)
axes.set(xlabel="first direction", ylabel="second direction", title="Signatures in the embedding")
axes.legend(title="writer", fontsize="small")
figure.savefig(arguments.out, dpi=110)
print(f"{len(good)} of {len(paths)} pictures, drawn in {arguments.out}")
