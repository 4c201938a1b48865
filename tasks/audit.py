"""Audit: look for leaks and faults before anything is trained, and keep what can be used."""

from __future__ import annotations

from dataclasses import asdict

from siamese import audit as auditing
from siamese.config import Settings
from siamese.files import read_json, write_json
from siamese.sources.listing import PublishedPairs
from siamese.tables import FILES
from tasks.stage import Output, Work, stage


@stage("audit", sections=("audit",))
def audit(work: Work, settings: Settings, ingested: Output) -> str:
    """Distinct, consistent files of writers with enough of them; findings as JSON."""
    facts = read_json(ingested / "sources.json")
    kept, findings = auditing.audit_files(
        FILES.read(ingested / "files.parquet"),
        [
            (source, PublishedPairs(pairs["path"], tuple(map(tuple, pairs["rows"]))))
            for source, known in facts.items()
            for pairs in known["published_pairs"]
        ],
        [(name, why) for known in facts.values() for name, why in known["unread"]],
        settings.audit,
    )
    FILES.write(kept, work.into / "files.parquet", work.provenance)
    write_json(work.into / "findings.json", [asdict(finding) for finding in findings])
    for finding in findings:
        work.log(f"Audit, {finding.level}: {finding.found} {finding.done}")
    told = [f"- **{f.level}** ({f.code}): {f.found} *{f.done}*" for f in findings]
    return "## Audit\n\n" + ("\n".join(told) or "Nothing was found.") + "\n"
