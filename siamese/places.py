"""Folders of whole files, on this machine's disk or on an object store, told apart by address.

A path is a folder here; ``s3://bucket/folder`` (or any address that ``pyarrow.fs`` knows) is one
there. A file appears when all of it is written, or not at all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from siamese.files import replace_file


@dataclass(frozen=True)
class Place:
    """One folder; ``path`` is as its file system names it."""

    filesystem: fs.FileSystem
    path: str

    @staticmethod
    def of(address: Place | Path | str) -> Place:
        """The folder at a path, or at an address such as ``s3://bucket/folder``.

        Raises
        ------
        ValueError : no file system goes by that address.
        """
        if isinstance(address, Place):
            return address
        if isinstance(address, str) and "://" in address:
            return Place(*fs.FileSystem.from_uri(address))
        return Place(fs.LocalFileSystem(), str(Path(address).absolute()))

    def __truediv__(self, name: str) -> Place:
        return Place(self.filesystem, f"{self.path}/{name}")

    @property
    def local(self) -> Path | None:
        """The folder's path, where it is on this machine."""
        return Path(self.path) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def files(self, suffix: str) -> list[str]:
        """Names of the whole files that end so, sorted; none where there is no such folder."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        names = (one.base_name for one in found if one.type == fs.FileType.File)
        return sorted(name for name in names if name.endswith(suffix) and name[0] != ".")

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from anywhere in it.

        Raises
        ------
        OSError : it is not there, or cannot be read.
        """
        return self.filesystem.open_input_file(f"{self.path}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        if (folder := self.local) is not None:
            with replace_file(folder / name) as handle:
                handle.write(data)
            return
        # An object is there once its upload is complete, and not before.
        with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{self.path}/{name}")

    def set_aside(self, name: str) -> None:
        """Give a damaged file a name that nobody reads it by, if it is still there."""
        with suppress(FileNotFoundError):
            self.filesystem.move(f"{self.path}/{name}", f"{self.path}/{name}.damaged")

    def mark_used(self) -> None:
        """Set a local folder's time, which :mod:`siamese.retention` goes by."""
        if (folder := self.local) is not None and folder.is_dir():
            os.utime(folder)
