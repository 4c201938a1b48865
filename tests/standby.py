"""``siamese`` for tests, without the seconds that its imports take each time.

``standby.py serve SOCKET`` imports what the commands import of other projects (but for Prefect,
which reads the environment then), and ``standby.py run SOCKET ...`` has a process forked from it
run ``siamese ...`` in the caller's folder and environment, on the caller's streams. It ends with
that one's status, and takes it along when it is killed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

#: What commands import of other projects.
OF_OTHERS = (
    "alembic", "matplotlib.figure", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store",
    "pandas", "pyarrow.parquet", "scipy.optimize", "sklearn.ensemble", "sklearn.pipeline",
    "torch._dynamo", "torchvision",
)  # fmt: skip


def run(address: str, arguments: list[str]) -> int:
    """Ask for a command; its exit status."""
    wanted = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(address)
        socket.send_fds(asked, [b"!"], [0, 1, 2])
        asked.sendall(json.dumps(wanted).encode() + b"\n")
        return int(asked.makefile().readline() or 1)


def serve(address: str) -> None:
    """Wait for commands; returns in the process that is to run one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those ended that keep watch
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    while True:
        asked, _ = listening.accept()
        if os.fork():
            asked.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listening.close()
        _, streams, *_ = socket.recv_fds(asked, 1, 3)
        wanted = json.loads(asked.makefile().readline())
        if child := os.fork():
            os._exit(_watch(asked, child))
        asked.close()
        _become(wanted, streams)
        return


def _watch(asked: socket.socket, child: int) -> int:
    """Tell how a process ended; end it when nobody waits for it any more."""
    asked.settimeout(0.02)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with suppress(BrokenPipeError):
                asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            return 0
        with suppress(TimeoutError):
            if not asked.recv(1):
                os.kill(child, signal.SIGKILL)


def _become(wanted: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = ["siamese", *wanted["arguments"]]


@cache
def standing_by() -> Path:
    """A program to call in place of ``siamese``, until this process ends."""
    folder = Path(mkdtemp(prefix="standby-"))
    address, program = folder / "socket", folder / "siamese"
    python = f"{sys.executable} -SE {__file__}"
    program.write_text(f'#!/bin/sh\nexec {python} run {address} "$@"\n')
    program.chmod(0o755)
    command = [sys.executable, __file__, "serve", str(address)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    atexit.register(shutil.rmtree, folder)
    atexit.register(process.kill)
    while not address.exists():
        assert process.poll() is None, "standby.py did not come up"
        time.sleep(0.1)
    return program


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    del sys.path[0]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # as siamese does; it would start a thread
    gc.disable()
    for module in OF_OTHERS:
        importlib.import_module(module)
    gc.freeze()  # what is imported is never garbage: no command looks through it again
    gc.enable()
    serve(sys.argv[2])
    from flows.cli import main

    main()
