"""Explain: where the signatures of each reviewed claim differ."""

from __future__ import annotations

import pyarrow as pa

from siamese import explaining
from siamese.config import Settings
from siamese.files import replace_file
from siamese.parquet import parquet_writer
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage

_AT_ONCE = 4096  # claims


@stage("explain", sections=())
def explain(work: Work, settings: Settings, model: Output, scored: Output) -> str:
    """``explanations.parquet``: an overlay and a difference map of each claim for review."""
    path = scored / "decisions.parquet"
    reviewed = int((CLAIM_DECISIONS.columns(path, ["decision"])["decision"] == "review").sum())
    parts = CLAIM_DECISIONS.parts(path, _AT_ONCE)
    schema, count = explaining.EXPLANATIONS, 0
    progress = work.progress("Reviews explained")
    with (
        replace_file(work.into / "explanations.parquet") as handle,
        parquet_writer(handle, schema) as writer,
    ):
        for made in explaining.explain(
            (part[part["decision"] == "review"] for part in parts),
            Verifier.load(model.path),
            settings.data_dir.resolve() / "store",
        ):
            writer.write_table(pa.Table.from_pandas(made, schema=schema, preserve_index=False))
            count += len(made)
            progress(count, reviewed)
    return f"## Explained\n\n{count:,} of {reviewed:,} reviewed claims.\n"
