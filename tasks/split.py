"""Split: every writer into train, calibration or test."""

from __future__ import annotations

from siamese import splitting
from siamese.audit import some
from siamese.config import Settings
from siamese.files import read_json
from siamese.sources.listing import Protocol
from siamese.tables import FILES, IMAGES, SPLITS, WRITER_SPLITS
from tasks.stage import Output, Work, stage


@stage("split", sections=("sources", "split", "seed"))
def split(
    work: Work, settings: Settings, ingested: Output, audited: Output, prepared: Output
) -> str:
    """Splits of writers, and the images table without what the audit left out."""
    kept = FILES.read(audited / "files.parquet")
    images = IMAGES.read(prepared / "images.parquet")
    images = images[images["image_id"].isin(kept["image_id"])]
    known = read_json(ingested / "sources.json")
    protocols = {
        source.label: Protocol(source.train, source.calibration, source.test)
        if source.train
        else Protocol(**known[source.label]["protocol"])
        for source in settings.sources
        if source.train or known[source.label]["protocol"]
    }
    splits = splitting.split_writers(images, protocols, settings.split, settings.seed)
    WRITER_SPLITS.write(splits, work.into / "splits.parquet", work.provenance)
    placed = images[images["writer"].isin(splits["writer"])]
    IMAGES.write(placed, work.into / "images.parquet", work.provenance)
    unplaced = sorted(set(images["writer"]) - set(splits["writer"]))
    if unplaced:
        work.log(f"{len(unplaced)} writer(s) are in no split by protocol: {some(unplaced)}.")
    counts = splits["split"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in SPLITS)
    work.log(f"Writers: {told}; none in two splits.")
    return f"## Writers\n\n{told}. No writer and no picture is in two splits.\n"
