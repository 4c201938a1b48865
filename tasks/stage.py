"""What every stage has in common: an output named by content, made once, whole or not there.

A stage's key is the fingerprint of its inputs' keys, the config sections it reads and the
source of all the code it runs. Its files are in ``<data_dir>/stages/<stage>/<key>/``. They are
made in a partial folder that is renamed at the end; a killed stage finds it again and goes on.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

from filelock import FileLock
from prefect import Task, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.settings import get_current_settings
from pydantic import BaseModel, ConfigDict

from siamese import config
from siamese.config import Settings
from siamese.files import (
    checksums_of,
    code_version,
    fingerprint,
    read_json,
    sha256_of_file,
    write_json,
    write_text,
)
from siamese.memory import give_back_memory

_PROGRESS_SECONDS = 5.0
_CHECKSUMS = "checksums.json"


class Output(BaseModel):
    """A finished stage: its name, its key, and the folder its files are in."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name


@dataclass(frozen=True)
class Work:
    """What a stage is given to work with.

    into : the folder to write to. provenance : goes into every file. outside : fingerprint of
    what no stage made. log : a sentence to whoever watches.
    """

    into: Path
    provenance: dict[str, Any]
    outside: str
    log: Callable[[str], None]

    def progress(self, what: str) -> Callable[[int, int], None]:
        """A function of (done, total) that now and then says how far, and how long still."""
        last, told = time.monotonic(), -1

        def tell(done: int, total: int) -> None:
            nonlocal last, told
            now = time.monotonic()
            if told < 0:  # what a killed run left took no time
                last, told = now, done
            if done < total and now - last < _PROGRESS_SECONDS:
                return
            left = (now - last) / max(done - told, 1) * (total - done)
            last, told = now, done
            tail = f", about {duration(left)} left" if done < total else ""
            self.log(f"{what}: {done:,} of {total:,}{tail}")

        return tell


def lock_of(folder: Path) -> FileLock:
    """Held by whoever makes or removes a stage's output."""
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def set_aside_if_damaged(folder: Path) -> bool:
    """Rename a stage's output whose files are not those that were written; was it?"""
    if not folder.is_dir():
        return False
    with lock_of(folder):
        try:
            written = read_json(folder / _CHECKSUMS)
            there = checksums_of(folder)
        except (OSError, ValueError):
            written, there = None, {}
        there.pop(_CHECKSUMS, None)
        if there == written:
            return False
        aside = folder.with_name(f".{folder.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    return True


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except (OSError, ValueError):
        return False
    return True


def tell(key: str, heading: str, what: str) -> str:
    """Say a sentence in the run's log and as an artifact; returns it."""
    get_run_logger().info(what)
    create_markdown_artifact(markdown=f"## {heading}\n\n{what}\n", key=key)
    return what


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(75), duration(8)
    ('1 min 15 s', '8 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def stage(
    name: str,
    *,
    sections: Sequence[str],
    besides: Sequence[ModuleType] = (),
    files: Sequence[Path] = (),
    outside: Callable[[dict[str, Any]], str] = lambda parameters: "",
    **options: Any,
) -> Callable[[Callable[..., str]], Task[..., Output]]:
    """Make a Prefect task of ``function(work, settings, *inputs) -> summary``.

    Parameters
    ----------
    sections : fields of the settings that the stage reads; others do not change its key.
    besides : modules it imports that do not change the result (drawing, tracking). All others
        that it imports, and what they import, are part of its key.
    files : that change the result, and are not Python.
    outside : fingerprint of what the stage reads that no other stage made.
    options : for Prefect (retries and the like).

    The task is called as ``function(settings, *inputs)`` and returns an :class:`Output`.
    The summary, in Markdown, becomes the stage's artifact.
    """

    def decorate(function: Callable[..., str]) -> Task[..., Output]:
        own = sys.modules[function.__module__]
        version = fingerprint(
            code_version(own, (config, sys.modules[__name__], *besides)),
            [sha256_of_file(path) for path in files],
        )
        signature = inspect.signature(function)
        without_work = signature.replace(parameters=list(signature.parameters.values())[1:])

        def key_of(parameters: dict[str, Any], read: str) -> str:
            settings: Settings = parameters["settings"]
            inputs = {
                parameter: value.key if isinstance(value, Output) else str(value)
                for parameter, value in parameters.items()
                if parameter != "settings"
            }
            section_values = settings.model_dump(mode="json", include=set(sections))
            return fingerprint(name, inputs, section_values, version, read)

        def folder_of(parameters: dict[str, Any], read: str) -> Path:
            settings: Settings = parameters["settings"]
            return settings.data_dir.resolve() / "stages" / name / key_of(parameters, read)

        # What lies outside is read once a run of the task: for its key, and then for its output.
        read_for: dict[UUID, str] = {}

        def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
            read_for[context.task_run.id] = read = outside(parameters)
            folder = folder_of(parameters, read)
            key = fingerprint(str(folder))
            remembered = Path(get_current_settings().results.local_storage_path) / key
            if set_aside_if_damaged(folder):
                get_run_logger().warning(
                    f"The output of {name} in {folder} is not as it was written; it is made again."
                )
            # What Prefect remembers of files that are gone is worth nothing, nor what is no JSON.
            if not (folder.is_dir() and _is_json(remembered)):
                remembered.unlink(missing_ok=True)
            if folder.is_dir():
                os.utime(folder)  # used now, though nothing may run: see siamese.retention
            return key

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Output:
            parameters = dict(without_work.bind(*args, **kwargs).arguments)
            settings: Settings = parameters["settings"]
            context = TaskRunContext.get()
            read = read_for.pop(context.task_run.id, "") if context else ""
            read = read or outside(parameters)
            folder = folder_of(parameters, read)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with lock_of(folder):
                if not folder.is_dir():
                    partial = folder.with_name(f".{folder.name}.partial")
                    partial.mkdir(exist_ok=True)
                    for unfinished in partial.rglob(".*.tmp"):
                        unfinished.unlink()  # of a run that was killed while it wrote
                    provenance = {
                        "stage": name,
                        "fingerprint": folder.name,
                        "config": settings.model_dump(mode="json", include=set(sections)),
                        "code_version": version,
                        "seed": settings.seed,
                    }
                    work = Work(partial, provenance, read, get_run_logger().info)
                    write_text(partial / "summary.md", function(work, **parameters))
                    give_back_memory()
                    write_json(partial / _CHECKSUMS, checksums_of(partial))
                    partial.rename(folder)
                os.utime(folder)  # used now: see siamese.retention
            create_markdown_artifact(
                markdown=(folder / "summary.md").read_text(),
                key=name.replace("_", "-"),
                description=f"{name}, output in {folder}",
            )
            return Output(stage=name, key=folder.name, path=folder)

        run.__signature__ = without_work  # type: ignore[attr-defined]
        return task(
            name=name,
            persist_result=True,
            result_serializer="json",
            cache_policy=CacheKeyFnPolicy(cache_key_fn=cache_key),
            **options,
        )(run)

    return decorate
