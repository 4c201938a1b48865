"""What is here and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from siamese.addresses import without_password
from siamese.config import Settings

_NEEDED = ("prefect", "mlflow", "fastapi", "torch", "torchvision", "pandas", "pyarrow", "Pillow")
_LEAST_DISK = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """``ok``, ``note`` (works without it) or ``fault`` (does not), with a sentence."""

    level: Literal["ok", "note", "fault"]
    name: str
    told: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that a run depends on, without changing it."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("ok" if sys.version_info >= (3, 11) else "fault", "python", version)
    for package in _NEEDED:
        yield _package(package, "fault", f"missing; pip install {package}")
    for package, use in (
        ("kagglehub", "downloads from Kaggle"),
        ("pypdfium2", "PDF pages"),
        ("openpyxl", "Excel manifests"),
    ):
        yield _package(package, "note", f"missing; only for {use}: pip install {package}")
    for name, look in (
        ("device", _device),
        ("disk", _disk),
        ("registry", _registry),
        ("prefect api", _prefect),
    ):
        try:
            yield look(settings)
        # Whatever is broken, the other checks are still worth having.
        except Exception as error:
            yield Finding("fault", name, without_password(f"{type(error).__name__}: {error}"))
    for module, extra in _extras(settings):
        if importlib.util.find_spec(module) is None:
            told = f"missing, and the settings need it: pip install 'siamese-signatures[{extra}]'"
            yield Finding("fault", module, told)
    for source in settings.sources:
        there = source.path is None or source.path.exists()
        told = f"{source.kind}: {source.path or 'generated or downloaded'}"
        yield Finding("ok" if there else "fault", "source", told + ("" if there else " is missing"))


def _extras(settings: Settings) -> Iterator[tuple[str, str]]:
    """Modules that these settings need, and the extra that brings each."""
    from tasks import tracking

    if any(source.kind == "kaggle" and source.path is None for source in settings.sources):
        yield "kagglehub", "kaggle"
    if tracking.tracking_uri(settings).startswith("postgresql"):
        yield "psycopg2", "servers"
    if settings.scoring.cluster:
        yield "prefect_dask", "cluster"


def _package(name: str, level: Literal["note", "fault"], otherwise: str) -> Finding:
    try:
        return Finding("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(level, name, otherwise)


def _device(settings: Settings) -> Finding:  # noqa: ARG001
    import torch

    if torch.cuda.is_available():
        return Finding("ok", "device", f"cuda: {torch.cuda.get_device_name()}")
    mixed = "with" if torch.cpu._is_avx512_bf16_supported() else "without"
    return Finding("ok", "device", f"cpu, {torch.get_num_threads()} threads, {mixed} bfloat16")


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return Finding("fault", "disk", f"{folder} cannot be written to (data_dir)")
    free = shutil.disk_usage(folder).free
    told = f"{free / 1024**3:.1f} GiB free for {settings.data_dir}"
    return Finding("ok" if free > _LEAST_DISK else "fault", "disk", told)


def _registry(settings: Settings) -> Finding:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from tasks import tracking

    uri = tracking.tracking_uri(settings)
    shown = without_password(uri)
    none_yet = Finding("note", "registry", f"{shown}: no model yet; siamese train makes one")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return none_yet
    try:
        model = MlflowClient(uri, uri).get_registered_model(settings.tracking.model)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return none_yet
        raise
    champion = model.aliases.get("champion", "none")
    return Finding("ok", "registry", f"{shown}: champion is version {champion}")


def _prefect(settings: Settings) -> Finding:  # noqa: ARG001
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        return Finding("ok", "prefect api", "none set: a temporary one per command")
    with urllib.request.urlopen(f"{url}/health", timeout=10):
        return Finding("ok", "prefect api", without_password(str(url)))
