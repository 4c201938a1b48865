"""The project's programs for tests, without the seconds that their imports take each time.

``standby.py serve SOCKET`` imports whatever the programs import, and ``standby.py run SOCKET
PROGRAM ...`` has a process forked from it be that program in the caller's folder and environment,
on the caller's streams. It ends with that one's status, and takes it along when it is killed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
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

#: What commands import of other projects when they need it.
OF_OTHERS = (
    "alembic", "mlflow.store.tracking.sqlalchemy_store", "prefect.server.api.server", "torchvision",
)  # fmt: skip
#: A width that does not break sentences apart, and no colour codes in them.
SHOWN = {"COLUMNS": "200", "NO_COLOR": "1"}
#: Programs, and in which module each is what.
PROGRAMS = {
    "siamese": ("flows.cli", "main"),
    "run_flows": ("run_flows", "main"),
    "prefect": ("prefect.cli", "app"),
    "uvicorn": ("uvicorn.main", "main"),
}


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
        # Prefect's server, where a program starts one, is forked too.
        sys.executable = str(Path(address).with_name("python"))
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
    from prefect.context import refresh_global_settings_context

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    refresh_global_settings_context()  # Prefect's, which were read where this was forked from
    sys.argv = wanted["arguments"]


@cache
def standing_by() -> Path:
    """A folder with programs to call in place of installed ones, until this process ends."""
    folder = Path(mkdtemp(prefix="standby-"))
    address = folder / "socket"
    for name in PROGRAMS:
        asks = f"{sys.executable} -SE {__file__} run {address} {name}"
        _write_script(folder / name, f'exec {asks} "$@"')
    _write_script(
        folder / "python",
        'case "$1 $2" in "-m prefect" | "-m uvicorn")\n'
        f'  program={folder}/$2; shift 2; exec "$program" "$@";;\n'
        f'esac\nexec {sys.executable} "$@"',
    )
    command = [sys.executable, __file__, "serve", str(address)]
    # What is imported has a look at these.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **SHOWN})
    atexit.register(shutil.rmtree, folder)
    atexit.register(process.kill)
    while not address.exists():
        assert process.poll() is None, "standby.py did not come up"
        time.sleep(0.1)
    return folder


def _write_script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def import_all() -> None:
    """What the programs import, with Prefect's settings left to be read by each."""
    import flows
    from flows import console
    from siamese.loading import load_settings

    prepare = console.prepare_environment
    prepare(load_settings())  # Prefect and MLflow would start threads that tell of their use
    from prefect.context import refresh_global_settings_context

    def prepare_anew(settings: Any) -> None:
        # A program sets its environment, then imports Prefect, which reads it.
        prepare(settings)
        refresh_global_settings_context()

    console.prepare_environment = prepare_anew
    ours = [f"flows.{module.name}" for module in pkgutil.iter_modules(flows.__path__)]
    for name in (*OF_OTHERS, *ours, *(module for module, _ in PROGRAMS.values())):
        importlib.import_module(name)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    gc.disable()
    import_all()
    gc.freeze()  # what is imported is never garbage: no program looks through it again
    gc.enable()
    serve(sys.argv[2])
    module, name = PROGRAMS[sys.argv[0]]
    sys.exit(getattr(importlib.import_module(module), name)())
