"""Which code the rows of the accuracy benchmark are of."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from siamese import config, evaluation, imaging, pairs, stretch, training
from siamese.config import (
    ImagingSettings,
    NetworkSettings,
    PairSettings,
    PolicySettings,
    TrainingSettings,
)
from siamese.files import fingerprint, sources_of

_SETTINGS = ImagingSettings, NetworkSettings, PairSettings, TrainingSettings, PolicySettings


def code() -> str:
    """Names the code that trains and measures, and the settings of which a row says nothing.

    Comments and docstrings aside. Of the benchmark's own files, those alone that no new row
    changes.
    """
    modules = (imaging, training, evaluation, pairs, stretch)
    return _named(modules, ("accuracy_data.py", "accuracy_figures.py", "baselines.py"))


def code_of_vectors() -> str:
    """The same of what makes vectors, the rows themselves with it, but not of what measures."""
    modules = (imaging, training, pairs)
    return _named(modules, ("accuracy_data.py", "accuracy_rows.py", "baselines.py"))


def _named(modules: Sequence[ModuleType], files: Sequence[str]) -> str:
    defaults = [kind().model_dump() for kind in _SETTINGS]
    sources: dict[str, str] = {}
    for module in modules:
        sources |= sources_of(module, (config,))
    for name in files:
        sources[name] = Path(__file__).with_name(name).read_text()
    return fingerprint({name: _meaning(text) for name, text in sources.items()}, *defaults)


def _meaning(source: str) -> str:
    """What a source does, without what it says."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            del node.body[: ast.get_docstring(node) is not None]
    return ast.dump(tree)
