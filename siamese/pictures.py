"""Pictures that people name: pages of files in a folder that nothing may leave, and manifests."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from siamese import imaging
from siamese.canvases import page_id
from siamese.config import ImagingSettings
from siamese.errors import InputError
from siamese.files import replace_file, sha256_of, sha256_of_file, shown
from siamese.sources.listing import PICTURES

#: Files that hold signatures: pictures, and the pages of PDF files.
SCANS = PICTURES | {".pdf"}


class ManifestError(InputError):
    """A manifest that cannot be read at all; the message says why and what to do."""


@dataclass(frozen=True)
class Picture:
    """A page of a file; most files have one."""

    path: Path
    page: int = 1

    def name(self, root: Path) -> str:
        """As a manifest in ``root``, with all links followed, names it."""
        relative = shown(str(self.path.relative_to(root)))
        return relative if self.page == 1 else f"{relative}#page={self.page}"


def parse_page(name: str) -> tuple[str, int]:
    """File name and page of a picture's name.

    >>> parse_page("scan.pdf#page=2"), parse_page("scan#page=2.png")
    (('scan.pdf', 2), ('scan#page=2.png', 1))
    """
    text, _, number = name.partition("#page=")
    if number.isdecimal() and len(number) <= 6 and int(number):
        return text, int(number)
    return name, 1


class Folder:
    """A folder that no name in it may lead out of, whatever links there are in it.

    Where its folders really are is looked up once; an object of this class is not to outlive
    the reading of a manifest.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._real: dict[str, str] = {}

    def picture(self, name: str) -> Picture | None:
        """The picture, with links followed, when its path can be one and stays within."""
        text, page = parse_page(name)
        folder, file = os.path.split(os.path.join(self.root, text))  # noqa: PTH118
        try:
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            path = f"{self._real[folder]}/{file}"
            if file in ("", "..", ".") or os.path.islink(path):  # noqa: PTH114
                path = os.path.realpath(path)
        except (OSError, ValueError):  # too long, a NUL in it
            return None
        return Picture(Path(path), page) if f"{path}/".startswith(f"{self.root}/") else None

    def expand(self, name: str) -> list[Picture | None]:
        """The picture itself or, of a folder, those in it; None for what leaves the root."""
        picture = self.picture(name)
        if picture is None or picture.path.suffix.lower() in SCANS or not is_folder(picture.path):
            return [picture]
        within = sorted(path for path in picture.path.iterdir() if path.suffix.lower() in SCANS)
        return [self.picture(str(path)) for path in within]

    def below(self, folder: Path) -> list[Picture]:
        """All pictures in a folder and its folders; links that leave are not among them."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SCANS)
        return [picture for path in paths if (picture := self.picture(str(path)))]


def _read_csv(path: Path) -> pd.DataFrame:
    """Commas, or semicolons where the first line has those alone; a row too long is an error."""
    with path.open(encoding="utf-8-sig") as handle:
        head = handle.readline()
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            sep=";" if ";" in head and "," not in head else ",",
            encoding="utf-8-sig",
        )


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    # Arrow's own types: whole numbers with a gap among them stay whole.
    ".parquet": lambda path: pd.read_parquet(path, dtype_backend="pyarrow"),
    ".xlsx": lambda path: pd.read_excel(path, dtype=str, keep_default_na=False),
}


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that no disk can hold is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def copy_picture(picture: Picture, settings: ImagingSettings, folder: Path) -> str:
    """Copy a picture into a folder, named by content; a page of several becomes a PNG.

    Returns
    -------
    Its name in the folder.

    Raises
    ------
    OSError, ImageRefused : it cannot be read.
    """
    data, suffix = picture.path.read_bytes(), picture.path.suffix.lower()
    if picture.page > 1 or suffix == ".pdf":
        out = io.BytesIO()
        Image.fromarray(imaging.decode(data, settings, picture.page)).save(out, "PNG")
        data, suffix = out.getvalue(), ".png"
    name = f"{sha256_of(data)}{suffix}"
    if not (folder / name).is_file():
        with replace_file(folder / name) as handle:
            handle.write(data)
    return name


def is_there(picture: Picture) -> bool:
    """Whether its file is there."""
    try:
        return picture.path.is_file()
    except OSError:  # a name too long for the disk
        return False


def hash_pictures(pictures: Iterable[Picture]) -> dict[Picture, str]:
    """The image id of each picture, from its file's content; each file is read once."""
    pictures = list(pictures)
    files: dict[Path, str] = {}
    for path in dict.fromkeys(picture.path for picture in pictures):
        try:
            files[path] = sha256_of_file(path)
        except OSError as error:
            # The name of the failure stands in for the content; preparing it says the rest.
            files[path] = sha256_of(f"unreadable {path} {error.strerror}".encode())
    return {picture: page_id(files[picture.path], picture.page) for picture in pictures}


def read_manifest(manifest: Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """All cells as text, empty ones as empty text.

    Raises
    ------
    ManifestError : it cannot be read, or lacks a required column.
    """
    reader = READERS.get(manifest.suffix.lower())
    if reader is None:
        raise ManifestError(f"{manifest} is not one of {', '.join(READERS)}.")
    try:
        table = reader(manifest).astype(object).fillna("").astype(str)
    except ImportError as error:
        raise ManifestError(f"Reading {manifest.name} needs: pip install openpyxl") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest} is not UTF-8; save it as CSV UTF-8.") from error
    # A damaged workbook or Parquet file raises nearly anything in its reader.
    except Exception as error:
        raise ManifestError(f"{manifest} could not be read: {error}") from error
    table.columns = table.columns.map(str)
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise ManifestError(f"{manifest} has two columns {repeated[0]}.")
    missing = set(required) - set(table.columns)
    if missing:
        raise ManifestError(f"{manifest} lacks the column(s) {', '.join(sorted(missing))}.")
    return table.reset_index(drop=True)


def folder_of(root: Path) -> Path:
    """Where names start: a folder itself, or that of a manifest."""
    return root.parent if root.is_file() else root


def find_manifest(root: Path, stem: str) -> Path | None:
    """The manifest of a folder, if it has one; a manifest itself.

    Raises
    ------
    ManifestError : the folder has several.
    """
    if root.is_file():
        return root
    found = [root / f"{stem}{suffix}" for suffix in READERS]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ManifestError(f"{root} has {names}; name the one to be read, as in {found[0]}.")
    return found[0] if found else None


def need_pdf_reader(pictures: Iterable[Picture], root: Path) -> None:
    """Refuse PDF files where nothing reads them.

    Raises
    ------
    ManifestError : there are some, and pypdfium2 is not installed.
    """
    if importlib.util.find_spec("pypdfium2") is None and any(
        picture.path.suffix.lower() == ".pdf" for picture in pictures
    ):
        raise ManifestError(
            f"There are PDF files in {root}; reading them needs: pip install pypdfium2"
        )
