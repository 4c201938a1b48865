"""A Prefect server on this machine, for as long as it is needed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from siamese.errors import RunError

_PATIENCE = 300.0  # seconds; the first start migrates the database
_GRACE = 10.0  # seconds


class ServerFailed(RunError):
    """The Prefect server did not come up; the message says what to look at."""


@contextmanager
def alone() -> Iterator[None]:
    """That no other does this with the same home of Prefect, which has one database.

    Raises
    ------
    ServerFailed : another does.
    """
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "siamese-serve.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ServerFailed(
            f"A siamese serve runs with {home}. End it, or give this one a home of its own "
            "(PREFECT_HOME)."
        ) from error
    with lock:
        yield


@contextmanager
def running_server(port: int) -> Iterator[str]:
    """The API's address: of ``PREFECT_API_URL``, else of a server started on loopback."""
    if configured := os.environ.get("PREFECT_API_URL"):
        yield configured
        return
    url = f"http://127.0.0.1:{port}/api"
    _refuse_if_taken(port)
    command = [
        sys.executable, "-m", "prefect", "server", "start",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    # In a session of its own, so that Ctrl-C ends the flows first, who still report to it.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    # Until Prefect sets its own handler, a plain SIGTERM would leave the server behind.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _wait_until_healthy(url, process)
        yield url
    finally:
        signal.signal(signal.SIGTERM, before)
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:  # it waits for clients that are gone
            process.kill()
            process.wait()


def _refuse_if_taken(port: int) -> None:
    """Whoever answers there already would pass for the server that is started.

    Raises
    ------
    ServerFailed : somebody listens on the port.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ServerFailed(
                f"Port {port} cannot be had: {error}. Name another (siamese serve --port, or "
                "PORT for deployments/up.sh), or the server that is there: PREFECT_API_URL."
            ) from error


def bury_dead_runs() -> int:
    """Mark runs that a stopped machine left behind as crashed, so that no new one waits for them.

    For a server that one machine has to itself, before any run of a deployment starts on it.
    Returns how many there were.
    """
    # Only now: Prefect reads the server's address when it is imported.
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    unfinished = FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
        ),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
    )
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=unfinished)
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message="The machine stopped."))
    return len(runs)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(
                f"The Prefect server ended with code {process.returncode}. Is its port taken? "
                "Try another with --port, or look with `prefect server start`."
            )
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise ServerFailed(f"The Prefect server did not answer at {url} in {_PATIENCE:.0f} s.")


def main(port: str = "") -> None:
    """For deployments/up.sh: before its server is started on a port, and when it is there."""
    if not port:
        bury_dead_runs()
        return
    try:
        with alone():
            _refuse_if_taken(int(port))
    except ServerFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
