"""Prepare: every distinct picture to its canvas, and its quality."""

from __future__ import annotations

from siamese import imaging, preparing
from siamese.config import Settings
from siamese.tables import FILES, IMAGES
from tasks.signatures import files_of
from tasks.stage import Output, Work, stage


@stage("prepare", sections=("imaging",))
def prepare(work: Work, settings: Settings, ingested: Output) -> str:
    """An images table, one row a distinct picture; canvases go to the store."""
    files = FILES.read(ingested / "files.parquet").drop_duplicates("image_id")
    store = preparing.canvas_store(settings.data_dir.resolve() / "store", settings.imaging)
    facts = preparing.prepare_files(
        files_of(files),
        settings.imaging,
        store,
        workers=settings.scoring.workers,
        progress=work.progress("Pictures prepared"),
    )
    images = files.drop(columns="part").join(facts, on="image_id")
    IMAGES.write(images, work.into / "images.parquet", work.provenance)
    refused = images[~images["quality"].isin(imaging.USABLE)]
    for row in refused.head(20).itertuples():
        work.log(f"Not usable: {row.path} ({row.quality}). {row.quality_detail}")
    counts = images["quality"].value_counts()
    told = "\n".join(f"| {quality} | {count} |" for quality, count in counts.items())
    return f"## Pictures by quality\n\n| quality | pictures |\n| --- | --- |\n{told}\n"
