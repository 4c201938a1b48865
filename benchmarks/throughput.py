"""Bulk scoring against the notebook's way and against the limit of the machine, in one run.

    python benchmarks/throughput.py [--claims 2000] [--rounds 5]

Real claims of five references (see real_claims.py), scored by an untrained verifier of the full
size: (a) the notebook's way, a pair at a time, both pictures decoded and embedded each time;
(b) ours from an empty store; (c) ours with the references in the store, and with all in it;
(d) the limit: canvases made on all cores at once, by processes that are there, and then the network
on all cores, in the batches that it is soonest done in, with nothing in between. (a) is measured on
a tenth of the pairs. Rounds take turns; figures are medians. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import real_claims
import torch
from machine import machine
from untrained import untrained

from siamese import imaging, reading
from siamese.claims import hash_claims
from siamese.config import ImagingSettings, ScoringSettings
from siamese.decoding import Decoders
from siamese.embedding import embed
from siamese.enrolment import read_enrolment
from siamese.intake import read_claims
from siamese.model import to_input
from siamese.preparing import prepare_files
from siamese.scoring import Batch, Stores, score_claims, with_vectors
from siamese.verifier import Verifier

SETTINGS = ScoringSettings()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def score(root: Path, verifier: Verifier, work: Path) -> int:
    """Score a folder with the stores below ``work``; the number of claims."""
    ledger = Path(tempfile.mkdtemp(dir=work))
    batch = Batch(
        root, read_enrolment(work / "none"), work / "store", ledger, "1", datetime.now(UTC)
    )
    return len(score_claims(read_claims(root), batch, verifier, SETTINGS))


def pair_at_a_time(pairs: list[tuple[Path, Path]], verifier: Verifier) -> None:
    """Both pictures of every pair decoded, normalised and embedded, batch 1."""
    with torch.inference_mode():
        for pair in pairs:
            left, right = (
                verifier.network(
                    to_input(
                        torch.from_numpy(
                            imaging.prepare(path.read_bytes(), verifier.imaging_settings).pixels
                        )[None]
                    )
                )
                for path in pair
            )
            torch.linalg.norm(left - right)


def best_batch(verifier: Verifier, canvases: npt.NDArray[np.uint8]) -> int:
    """How many canvases a core embeds at a time where all are embedded soonest; prints the rest."""
    taken = {
        size: min(seconds(partial(embed, verifier.folded, canvases, size)) for _ in range(3))
        for size in (4, 8, 16, 32, 64)
    }
    each = ", ".join(f"{size}: {1000 * s / len(canvases):.2f}" for size, s in taken.items())
    print(f"Network, ms a picture by batch: {each}.\n")
    return min(taken, key=lambda size: taken[size])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--claims", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.claims, arguments.rounds)


def measure(work: Path, count: int, rounds: int) -> None:
    root = work / "claims"
    real_claims.build(real_claims.SHARED, root, count, [5], broken=0)
    claims = read_claims(root)
    ids = hash_claims(claims)
    files = {image_id: picture.path for picture, image_id in ids.items()}
    pairs = [(c.questioned.path, p.path) for c in claims for p in c.references if c.questioned]
    data = [path.read_bytes() for path in files.values()]
    size, cores = ImagingSettings(), os.cpu_count() or 1
    canvases = np.stack([imaging.prepare(one, size).pixels for one in data[:1000]])
    verifier = untrained(canvases)
    some = [pairs[i] for i in np.random.default_rng(1).permutation(len(pairs))[: len(pairs) // 10]]

    # A store that has the references alone.
    known = work / "known"
    stores = Stores.of(verifier, known / "store")
    references = {ids[p] for claim in claims for p in claim.references}
    facts = prepare_files([(one, files[one]) for one in references], size, stores.canvases)
    with_vectors(facts, verifier, stores)

    def fresh(name: str, start: Path | None) -> Path:
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        if start:
            shutil.copytree(start, folder)
        folder.mkdir(exist_ok=True)
        return folder

    best = best_batch(verifier, canvases)
    taken: dict[str, list[float]] = {}
    make, side = partial(imaging.prepare, settings=size), imaging._WORKING_SIDE
    with Decoders() as decoders:
        list(decoders.map(make, data[: 64 * cores], _lost))  # starts them
        for _ in range(rounds):
            cold, warm = fresh("cold", None), fresh("warm", known)
            works: dict[str, Callable[[], object]] = {
                "a": lambda: pair_at_a_time(some, verifier),
                "cold": partial(score, root, verifier, cold),
                "warm": partial(score, root, verifier, warm),
                "again": partial(score, root, verifier, cold),
                "decode": lambda: [reading.read_scan(one, size, enough=side) for one in data],
                "prepare": lambda: [imaging.prepare(one, size) for one in data],
                "canvases": lambda: list(decoders.map(make, data, _lost)),
                "network": partial(embed, verifier.folded, canvases, best),
            }
            for name, work_of in works.items():
                taken.setdefault(name, []).append(seconds(work_of))
    t = {name: np.array(found) for name, found in taken.items()}
    t["a"] *= len(pairs) / len(some)
    t["network"] *= len(data) / len(canvases)
    t["limit"] = t["canvases"] + t["network"]
    asked = {ids[c.questioned] for c in claims if c.questioned}
    print(
        f"{machine()}, torch {torch.__version__}; "
        f"{len(claims):,} claims of 5 references, {len(pairs):,} pairs, {len(data):,} distinct "
        f"pictures, {len(asked - references):,} of them questioned alone; medians of {rounds}, of "
        "seconds and of what each round's are of one another.\n"
    )
    print("| | seconds | claims/s | against (a) |\n| --- | --- | --- | --- |")
    for title, name in {
        "(a) a pair at a time": "a",
        "(b) ours, empty store": "cold",
        "(c) ours, references in the store": "warm",
        "(c) ours, all in the store": "again",
        "(d) the limit of this machine for (b)": "limit",
    }.items():
        middle, times = np.median(t[name]), np.median(t["a"] / t[name])
        print(f"| {title} | {middle:.1f} | {len(claims) / middle:.0f} | {times:.1f} × |")
    each = {
        name: 1000 * np.median(t[name]) / len(data) for name in ("decode", "prepare", "network")
    }
    print(
        f"\nA picture takes {each['decode']:.2f} ms to decode, "
        f"{each['prepare'] - each['decode']:.2f} ms to normalise (one core), and "
        f"{each['network']:.2f} ms in the network (all cores, {best} at a time). (b) runs at "
        f"{np.median(t['limit'] / t['cold']):.0%} of the limit; of one at which {cores} cores make "
        "canvases as fast each as one alone, "
        f"{np.median((t['prepare'] / cores + t['network']) / t['cold']):.0%}."
    )


def _lost(_: bytes, why: str) -> imaging.Canvas:
    raise RuntimeError(why)


if __name__ == "__main__":
    main()
