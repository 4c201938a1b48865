"""Are two pictures signatures of one hand? By the registered champion.

    python docs/examples/verify.py reference.png questioned.png

MLFLOW_TRACKING_URI names the registry; none: data/mlflow/mlflow.db here.
"""

import os
import sys
from pathlib import Path

import mlflow

from siamese.verifier import Verifier

os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///data/mlflow/mlflow.db")
reference, questioned = (Path(name).read_bytes() for name in sys.argv[1:3])

# The five lines.
files = mlflow.artifacts.download_artifacts("models:/signature-verifier@champion")
folder = next(Path(files).rglob("verifier.json")).parent
verifier = Verifier.load(folder)
made = verifier.compare([reference], questioned)
print(f"{made.decision}: distance {made.distance:.3f}, p(genuine) {made.p_genuine:.2f}")
