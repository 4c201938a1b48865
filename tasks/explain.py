"""Explain: where the signatures of each reviewed claim differ."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from siamese import explaining
from siamese.config import Settings
from siamese.files import replace_file
from siamese.tables import CLAIM_DECISIONS
from siamese.verifier import Verifier
from tasks.stage import Output, Work, stage


@stage("explain", sections=())
def explain(work: Work, settings: Settings, model: Output, scored: Output) -> str:
    """``explanations.parquet``: an overlay and a difference map of each claim for review."""
    decisions = CLAIM_DECISIONS.read(scored / "decisions.parquet")
    reviewed = decisions[decisions["decision"] == "review"]
    schema, count = explaining.EXPLANATIONS, 0
    with (
        replace_file(work.into / "explanations.parquet") as handle,
        pq.ParquetWriter(handle, schema) as writer,
    ):
        for made in explaining.explain(
            reviewed,
            Verifier.load(model.path),
            settings.data_dir.resolve() / "store",
            work.progress("Reviews explained"),
        ):
            writer.write_table(pa.Table.from_pandas(made, schema=schema, preserve_index=False))
            count += len(made)
    return f"## Explained\n\n{count:,} of {len(reviewed):,} reviewed claims.\n"
