"""Ingest: get the sources onto disk and list every file with its checksum."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from prefect.tasks import exponential_backoff

from siamese.config import Settings, SourceSettings
from siamese.files import fingerprint, sha256_of_file, write_json
from siamese.sources import (
    SOURCES,
    SourceError,
    SourceUnreachable,
    fetch_and_read,
    forgotten,
)
from siamese.tables import FILES
from tasks.stage import Work, stage


def _sources_fingerprint(parameters: dict[str, Any]) -> str:
    """Content of all that is on disk already; what is generated is named by its recipe."""
    settings: Settings = parameters["settings"]
    raw = settings.data_dir.resolve() / "raw"
    return fingerprint([_content_of(source, raw) for source in settings.sources])


def _content_of(source: SourceSettings, raw: Path) -> object:
    """All that the source would read; nothing else that lies beside it."""
    if source.path is None:
        return source.kind, forgotten(raw)
    try:
        listing = SOURCES[source.kind].read(source.path)
    except (SourceError, OSError):
        return "unreadable"  # reading it says why
    images = [(i.path, i.writer, i.kind, _checksum(listing.root / i.path)) for i in listing.images]
    return images, [asdict(pairs) for pairs in listing.published_pairs], listing.unread


def _checksum(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _network_failed(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001
    """Only what may work the next time is tried again."""
    return isinstance(state.result(raise_on_failure=False), SourceUnreachable)


@stage(
    "ingest",
    sections=("sources", "seed"),
    outside=_sources_fingerprint,
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_network_failed,
)
def ingest(work: Work, settings: Settings) -> str:
    """Files of all sources, one row a file; writers are named ``source:writer``."""
    rows: list[dict[str, str]] = []
    facts: dict[str, Any] = {}
    raw = settings.data_dir.resolve() / "raw"
    for source in settings.sources:
        work.log(f"Reading the {source.label} source.")
        listing = fetch_and_read(source, raw, settings.seed)
        tell = work.progress(f"Checksums of {source.label}")
        unread = list(listing.unread)
        for number, image in enumerate(listing.images, start=1):
            path = listing.root / image.path
            tell(number, len(listing.images))
            try:
                image_id = sha256_of_file(path)
            except OSError as error:
                unread.append((image.path, f"it could not be read: {error.strerror}"))
                continue
            rows.append(
                {
                    "image_id": image_id,
                    "path": str(path.resolve()),
                    "writer": f"{source.label}:{image.writer}",
                    "kind": image.kind,
                    "source": source.label,
                    "part": image.part,
                }
            )
        facts[source.label] = {
            "protocol": asdict(listing.protocol) if listing.protocol else None,
            "published_pairs": [asdict(pairs) for pairs in listing.published_pairs],
            "unread": unread,
        }
    frame = pd.DataFrame(rows).drop_duplicates()
    # What lies in raw/ stays longer than this output, and siamese forget has to find it.
    kept = frame[frame["path"].str.startswith(f"{raw}/")]
    if len(kept):
        FILES.write(kept, raw / "listed" / f"{work.provenance['fingerprint']}.parquet", {})
    FILES.write(frame, work.into / "files.parquet", work.provenance)
    write_json(work.into / "sources.json", facts)
    by_source = frame.groupby(["source", "kind"], observed=True).size().unstack(fill_value=0)
    return f"## Files by source and kind\n\n{_markdown(by_source)}\n"


def _markdown(table: pd.DataFrame) -> str:
    head = ["source", *map(str, table.columns)]
    lines = [head, ["---"] * len(head)]
    lines += [[str(index), *map(str, row)] for index, row in table.iterrows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
