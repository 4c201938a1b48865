"""Files by content, and writes that are whole or not there."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

_PROJECT = ("siamese", "tasks")


def sha256_of(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """16 hex digits that name plain values by content; the order of mapping keys is ignored.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return sha256_of(text.encode(errors="backslashreplace"))[:16]


def code_version(module: ModuleType, besides: Sequence[ModuleType] = ()) -> str:
    """16 hex digits that change when this module's source does, or that of any it imports.

    Parameters
    ----------
    besides : as for :func:`sources_of`.
    """
    return fingerprint(sources_of(module, besides))


def sources_of(module: ModuleType, besides: Sequence[ModuleType] = ()) -> dict[str, str]:
    """Source of a module and of all that it imports, by name.

    Followed through the packages of this project, by reading their import statements.

    Parameters
    ----------
    besides : modules that do not change what is computed, and are not followed.
    """
    left_out = {other.__name__ for other in besides}
    sources: dict[str, str] = {}
    pending = [module.__name__]
    while pending:
        name = pending.pop()
        origin = None if name in left_out | sources.keys() else _source_of(name)
        if origin is not None:
            text = origin.read_text()
            sources[name] = text
            pending += _imported(text)
    return sources


def _source_of(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # a name in a module, not a module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


@functools.cache  # modules are imported by many, and each is asked for some times a run
def _imported(source: str) -> tuple[str, ...]:
    """Modules of this project that a source imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return tuple(name for name in names if name.split(".")[0] in _PROJECT)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name; it appears only when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_sealed(path: Path, data: bytes) -> None:
    """Write bytes with their checksum before them, whole or not at all."""
    with replace_file(path) as handle:
        handle.write(hashlib.sha256(data).digest())
        handle.write(data)


def read_sealed(path: Path) -> bytes | None:
    """What :func:`write_sealed` wrote; None where there is nothing, or not what was written.

    A file that changed since then is renamed to ``<name>.damaged``.
    """
    if not path.is_file():
        return None
    sealed = path.read_bytes()
    if hashlib.sha256(sealed[32:]).digest() == sealed[:32]:
        return sealed[32:]
    with suppress(FileNotFoundError):  # another process was first
        path.replace(path.with_name(f"{path.name}.damaged"))
    return None


def checksums_of(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder and its folders, by name from there."""
    return {
        str(path.relative_to(folder)): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replace_file(path) as handle:
        handle.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, for people too: indented, non-ASCII as it is."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def shown(name: str) -> str:
    """A file's name as text that can be written: bytes that are not UTF-8 as escapes."""
    return name.encode(errors="backslashreplace").decode()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
