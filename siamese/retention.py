"""What the data folder holds that nothing has used for long, and its removal.

Of canvases and vectors, also what was made long ago: who signed once leaves a store that others
are looked up in every day, and what is still needed is made again.

Only what can be made again is ever found here: outputs of stages, downloaded copies of models,
canvases and vectors. Decisions on claims, reports, raw data, enrolled references, feedback and
the registry are not.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

_REMOVED = ".removed"  # ends the name of what is going
_FOLDERS = {
    "stages/*/*": "output of a stage",
    "stages/*/.*.partial": "work that was never finished",
    "stages/*/.*.damaged": "output that was not as it was written",
    f"**/.*{_REMOVED}": "what was being removed",
    "models/*": "copy of a registered model",
    "models/.*.partial": "copy that was never finished",
    "store/canvases/*": "canvases of one way of imaging",
    "store/embeddings/*": "vectors of one model",
    "exchange/models/*": "copy of a model for other machines",
}
_FILES = {
    "store/canvases/*/part-*": "canvases made long ago",
    "store/embeddings/*/part-*": "vectors made long ago",
    "exchange/pictures/*": "pictures that no other machine asked for",
    "exchange/vectors/*": "vectors that nobody asked for",
    "**/.*.tmp": "file that was never finished",
}

#: Stages whose outputs people keep.
_KEPT = ("score", "report")


@dataclass(frozen=True)
class Leftover:
    """A folder or file that nothing needs: what it is, its bytes, when it was last used or made."""

    path: Path
    what: str
    size: int
    last_used: datetime


def leftovers(data_dir: Path, unused_since: datetime) -> list[Leftover]:
    """Folders that were neither made nor used since then, and files not made, the largest first.

    Whoever uses a folder sets its modification time.
    """
    found: list[Leftover] = []
    for pattern, what in _FOLDERS.items():
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
    gone = {one.path for one in found}
    for pattern, what in _FILES.items():
        for path in data_dir.glob(pattern):
            with suppress(FileNotFoundError):  # somebody finished it, or merged it with others
                facts = path.lstat()
                made = datetime.fromtimestamp(facts.st_mtime, UTC)
                if path.is_file() and made < unused_since and path.parent not in gone:
                    found.append(Leftover(path, what, facts.st_size, made))
    return sorted(found, key=lambda one: (-one.size, str(one.path)))


def remove(leftover: Leftover) -> bool:
    """Remove it, unless somebody is at work on it or has used it since; was it removed?"""
    path = leftover.path
    if path.is_file():
        path.unlink(missing_ok=True)
        return True
    name = path.name.removeprefix(".")
    for suffix in (".partial", ".damaged", _REMOVED):
        name = name.removesuffix(suffix)
    lock = path.with_name(f".{name}.lock")
    try:
        with FileLock(lock, timeout=0):
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) > leftover.last_used:
                return False
            # Renamed first: whoever looks finds all of it, or nothing.
            gone = path.with_name(f".{name}{_REMOVED}")
            if path != gone:
                shutil.rmtree(gone, ignore_errors=True)
                path.rename(gone)
            shutil.rmtree(gone)
    except (Timeout, FileNotFoundError):
        return False
    lock.unlink(missing_ok=True)
    return True
