"""Running the installed program, and servers beside it, as a person would."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from standby import SHOWN, standing_by

SIAMESE = str(Path(sys.executable).with_name("siamese"))

#: Settings of a network that trains in seconds.
SMALL_NETWORK = {
    "imaging.height": 108,
    "imaging.width": 216,
    "network.widths": [8, 12, 16],
    "training.writers_per_batch": 6,
}
#: The same as flags, with what to train on.
SMALL = (
    *(word for name, value in SMALL_NETWORK.items() for word in ("--set", f"{name}={value}")),
    "--set", 'sources=[{"kind": "synthetic", "writers": 30, "images": 4}]',
    "--set", "training.evaluate_every=5",
)  # fmt: skip
#: The same as environment variables.
SMALL_VARIABLES = {
    f"SIAMESE_{name.upper().replace('.', '__')}": str(value)
    for name, value in SMALL_NETWORK.items()
}


def environment(home: Path, **more: str) -> dict[str, str]:
    """This machine's environment, with Prefect's home in a folder of the test's own.

    A new one gets a database that has its tables, which take seconds to make.
    """
    if not home.exists():
        shutil.copytree(_new_home(), home)
    return _environment(home, **more)


@cache
def _new_home() -> Path:
    """Shared by the processes of a test run."""
    folder = standing_by()
    home, made = folder / "prefect-home", folder / "prefect-home-is-made"
    with FileLock(folder / "prefect-home.lock"):
        if not made.exists():
            upgrade = [folder / "prefect", "server", "database", "upgrade", "--yes"]
            subprocess.run(upgrade, env=_environment(home), check=True, stdout=subprocess.DEVNULL)
            made.touch()
    return home


def _environment(home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SIAMESE_", "PREFECT_", "MLFLOW_"))
    }
    return {**kept, **SHOWN, "PREFECT_HOME": str(home), **more}


def siamese(
    *arguments: str | Path, home: Path, cwd: Path, timeout: float = 600,
    program: str | Path | None = None, **more: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run ``siamese`` to its end; output of both streams in ``stdout``."""
    return subprocess.run(
        [program or standing_by() / "siamese", *map(str, arguments)],
        env=environment(home, **more),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: list[str], url: str, log: Path, cwd: Path, env: dict[str, str],
    patience: float = 180, end: int = signal.SIGTERM,
) -> Iterator[None]:  # fmt: skip
    """A server process that answers at ``url``, ended with all its children afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=cwd, env=env, start_new_session=True
        )
    try:
        deadline = time.monotonic() + patience
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command} did not come up:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        assert process.poll() is None, log.read_text()[-3000:]  # another answers in its place
        yield
    finally:
        os.killpg(process.pid, end)
        process.wait(30)


@contextmanager
def prefect_serving(home: Path, cwd: Path) -> Iterator[str]:
    """A Prefect server; gives the address of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [str(standing_by() / "prefect"), "server", "start", "--port", str(port)]
    log, env = cwd / "prefect.log", environment(home)
    # It would wait for clients that are gone.
    with serving(command, f"{url}/health", log, cwd, env, end=signal.SIGKILL):
        yield url


def post(url: str, body: dict[str, Any], timeout: float) -> Any:
    """The answer to a body, both JSON."""
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    for _ in range(10):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # Prefect's server says so while its SQLite is locked; its own client asks again too.
            if error.code != 503:
                raise
            time.sleep(1)
    raise AssertionError(f"{url} was unavailable ten times")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


@dataclass(frozen=True)
class System:
    """A working folder where the demo was run, with no server of any kind."""

    cwd: Path
    home: Path
    output: str
    code: int

    @property
    def data(self) -> Path:
        return self.cwd / "data"

    def output_of(self, stage: str) -> Path:
        (found,) = [p for p in (self.data / "stages" / stage).iterdir() if p.name[0] != "."]
        return found

    def shown(self, label: str) -> Path:
        """A path that the demo printed at its end."""
        return Path(re.findall(rf"{label}: +(\S+)", self.output)[-1])

    def client(self) -> mlflow.MlflowClient:
        uri = f"sqlite:///{self.data}/mlflow/mlflow.db"
        return mlflow.MlflowClient(uri, uri)

    def run(self, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return siamese(*arguments, home=self.home, cwd=self.cwd, **more)
