"""Flows in processes that a test may kill, each in a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import SMALL_NETWORK, environment
from standby import standing_by

#: Flow, arguments, and settings besides those below.
Step = list[Any]

SETTINGS: dict[str, Any] = {
    "sources": [{"kind": "synthetic", "writers": 16, "images": 3}],
    **SMALL_NETWORK,
    "training.steps": 15,
    "training.evaluate_every": 3,
    "policy.bootstrap": 100,
    "scoring.shard": 8,
    "scoring.workers": 1,
}


@dataclass
class Runner:
    """A process that forks one for each flow; see ``run_flows.py``."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, step: Step) -> int:
        """The process's id."""
        assert self.process.stdin
        assert self.process.stdout
        flow, arguments, more = step
        told = json.dumps([flow, [str(one) for one in arguments], {**SETTINGS, **more}])
        print(told, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """The exit status, negative when it was killed."""
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def run(self, step: Step, kill_after: float | None = None) -> int:
        child = self.start(step)
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return self.end()

    def wait_for(self, pattern: str) -> Path:
        """A file in the data folder, as soon as it is there."""
        for _ in range(2400):
            for found in self.data.glob(pattern):
                return found
            time.sleep(0.025)
        raise AssertionError(f"there is no {pattern}:\n{self.log[-3000:]}")


@contextmanager
def running(folder: Path, api: str, **more: str) -> Iterator[Runner]:
    """A runner; a folder that is there is gone on in."""
    folder.mkdir(exist_ok=True)
    program = [standing_by() / "run_flows"]
    if "LD_PRELOAD" in more:  # which is for a process from its start
        program = [sys.executable, Path(__file__).with_name("run_flows.py")]
    command = [*program, folder / "data"]
    env = environment(folder / "prefect", PREFECT_API_URL=api, **more)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=folder
    ) as process:
        yield Runner(process, folder)
        assert process.stdin
        process.stdin.close()
