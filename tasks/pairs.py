"""Pairs: references and questioned signatures to Parquet, a folder a split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from siamese import pairs as pairing
from siamese.config import Settings
from siamese.tables import IMAGES, PAIR_KINDS, PAIRS, SPLITS, WRITER_SPLITS
from tasks.stage import Output, Work, stage


@stage("pairs", sections=("pairs", "seed"))
def pairs(work: Work, settings: Settings, splits: Output) -> str:
    """Pairs within each split, at ``split=<name>/part-0.parquet``."""
    images = IMAGES.read(splits / "images.parquet")
    table = WRITER_SPLITS.read(splits / "splits.parquet")
    told = ["| split | " + " | ".join(PAIR_KINDS) + " |", "| --- " * 4 + "|"]
    for name in SPLITS:
        writers = table.loc[table["split"] == name, "writer"]
        mine = images[images["writer"].isin(writers)]
        made = pairing.build_pairs(mine, settings.pairs, settings.seed)
        pairing.check_kinds(made, name)
        PAIRS.write(made, pairs_file(work.into, name), work.provenance)
        counts = made["kind"].value_counts()
        told.append(f"| {name} | " + " | ".join(str(counts.get(k, 0)) for k in PAIR_KINDS) + " |")
        work.log(f"{len(made):,} pairs of {len(writers)} {name} writers.")
    return "## Pairs\n\n" + "\n".join(told) + "\n"


def pairs_file(folder: Path, split: str) -> Path:
    """Where the pairs of a split lie in a pairs output."""
    return folder / f"split={split}" / "part-0.parquet"


def read_pairs(output: Output, split: str) -> pd.DataFrame:
    """The pairs of one split."""
    return PAIRS.read(pairs_file(output.path, split))
