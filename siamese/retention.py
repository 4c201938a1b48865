"""What the data folder holds that nothing has used for long, and its removal.

Only what can be made again is ever found here: outputs of stages, downloaded copies of models,
canvases and vectors. Decisions on claims, reports, raw data, enrolled references, feedback and
the registry are not.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

_KINDS = {
    "stages/*/*": "output of a stage",
    "stages/*/.*.partial": "work that was never finished",
    "stages/*/.*.damaged": "output that was not as it was written",
    "models/*": "copy of a registered model",
    "models/.*.partial": "copy that was never finished",
    "store/canvases/*": "canvases of one way of imaging",
    "store/embeddings/*": "vectors of one model",
}

#: Stages whose outputs people keep.
_KEPT = ("score", "report")


@dataclass(frozen=True)
class Leftover:
    """A folder or file that nothing needs: what it is, its bytes, and when it was last used."""

    path: Path
    what: str
    size: int
    last_used: datetime


def leftovers(data_dir: Path, unused_since: datetime) -> list[Leftover]:
    """Folders, and temporary files, that were neither made nor used since then, the largest first.

    Whoever uses a folder sets its modification time.
    """
    found = []
    for pattern, what in _KINDS.items():
        for path in data_dir.glob(pattern):
            hidden = path.name.startswith(".")
            if path.is_symlink() or not path.is_dir() or hidden != ("/." in pattern):
                continue
            if path.parent.name in _KEPT and not hidden:
                continue
            last_used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if last_used < unused_since:
                size = sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
                found.append(Leftover(path, what, size, last_used))
    for path in data_dir.glob("**/.*.tmp"):
        last_used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if path.is_file() and last_used < unused_since:
            found.append(
                Leftover(path, "file that was never finished", path.stat().st_size, last_used)
            )
    return sorted(found, key=lambda one: (-one.size, str(one.path)))


def remove(leftover: Leftover) -> bool:
    """Remove it, unless somebody is at work on it or has used it since; was it removed?"""
    path = leftover.path
    if path.suffix == ".tmp":
        path.unlink(missing_ok=True)
        return True
    name = path.name.removeprefix(".").removesuffix(".partial").removesuffix(".damaged")
    lock = path.with_name(f".{name}.lock")
    try:
        with FileLock(lock, timeout=0):
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) > leftover.last_used:
                return False
            # Renamed first: whoever looks finds all of it, or nothing.
            gone = path.with_name(f".{name}.removed")
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone)
    except (Timeout, FileNotFoundError):
        return False
    lock.unlink(missing_ok=True)
    return True
