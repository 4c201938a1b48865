"""How long the store takes to find many vectors among more.

    python benchmarks/lookup.py [--stored 200000] [--wanted 100000] [--rounds 5]

Random vectors of the full length, in a store of its own; the ids that are looked up are drawn from
all of them. Each round opens the store anew, so that the index is read and made again. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from machine import machine

from siamese.config import NetworkSettings
from siamese.store import ContentStore, embedding_schema

_PART = 10_000  # vectors that are put at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--stored", type=int, default=200_000)
    parser.add_argument("--wanted", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    length = NetworkSettings().length
    rng = np.random.default_rng(1)
    ids = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(asked.stored)]
    with tempfile.TemporaryDirectory() as folder:
        store = ContentStore(Path(folder), embedding_schema(length))
        for start in range(0, asked.stored, _PART):
            some = ids[start : start + _PART]
            vectors = rng.random((len(some), length), np.float32)
            store.put(pd.DataFrame({"image_id": some, "embedding": list(vectors)}))
        wanted = [ids[place] for place in rng.permutation(asked.stored)[: asked.wanted]]
        taken = []
        for _ in range(asked.rounds):
            began = time.perf_counter()
            found = ContentStore(Path(folder), embedding_schema(length)).get(wanted)
            taken.append(time.perf_counter() - began)
            assert len(found) == len(wanted)
    print(
        f"{machine()}: {len(wanted):,} of {asked.stored:,} "
        f"vectors of {length} found in {statistics.median(taken):.2f} s "
        f"({min(taken):.2f} to {max(taken):.2f}, {asked.rounds} rounds), the index included."
    )


if __name__ == "__main__":
    main()
