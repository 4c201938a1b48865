"""The project's programs for tests, without the seconds that their imports take each time.

``standby.py serve SOCKET`` imports whatever the programs import, and ``standby.py run SOCKET
PROGRAM ...`` has a process forked from it be that program in the caller's folder and environment,
on the caller's streams. That one ends with its status, is sent its SIGINT and SIGTERM, and is
killed with it. All ends with the test run, and what programs started and left behind, too.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

#: What commands import of other projects when they need it.
OF_OTHERS = (
    "alembic", "mlflow.store.tracking.sqlalchemy_store", "prefect.server.api.server", "torchvision",
)  # fmt: skip
#: A width that does not break sentences apart, and no colour codes in them.
SHOWN = {"COLUMNS": "200", "NO_COLOR": "1"}
#: Programs, and in which module each is what.
PROGRAMS = {
    "mlflow": ("mlflow.cli", "cli"),
    "siamese": ("flows.cli", "main"),
    "run_flows": ("run_flows", "main"),
    "prefect": ("prefect.cli", "app"),
}
#: What ``python -m`` runs like this, beside any script; other modules are run afresh.
MODULES = (
    "dask", "flows.server", "mlflow", "prefect", "prefect.engine", "uvicorn",
    "prefect.runner._workspace_resolver", "prefect.runner._workspace_supervisor",
)  # fmt: skip
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def run(address: str, arguments: list[str]) -> int:
    """Ask for a command; its exit status."""
    wanted = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(address)
        socket.send_fds(asked, [b"!"], [0, 1, 2])
        asked.sendall(json.dumps(wanted).encode() + b"\n")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: asked.sendall(bytes([number])))
        return int(asked.makefile().readline() or 1)


def serve(address: str, owner: int) -> None:
    """Wait for commands, until the owner has ended; returns in the process that is to run one."""
    import ctypes

    import psutil  # here, for ``run``, which is to start at once, has no packages

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how those ended that keep watch
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    listening.settimeout(1)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # orphans of programs are children of this
    while True:
        try:
            asked, _ = listening.accept()
        except TimeoutError:
            if not Path(f"/proc/{owner}").exists():
                for left in psutil.Process().children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        left.kill()
                shutil.rmtree(Path(address).parent)
                os._exit(0)
            continue
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
    """Tell how a process ended, pass signals on, end it when nobody waits for it any more."""
    asked.settimeout(0.02)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with suppress(BrokenPipeError):
                asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            return 0
        with suppress(TimeoutError):
            told = asked.recv(1)
            os.kill(child, told[0] if told else signal.SIGKILL)


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
    """A folder with programs to call in place of installed ones, for as long as tests run.

    Processes of one test run share it.
    """
    owner, name = os.getpid(), None
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        owner, name = os.getppid(), run
    from filelock import FileLock  # here: ``run`` has no packages

    folder = Path(gettempdir()) / f"standby-{name or owner}"
    folder.mkdir(exist_ok=True)
    address = folder / "socket"
    with FileLock(folder / "lock"):
        if not address.exists():
            _start(folder, address, owner)
    return folder


def _start(folder: Path, address: Path, owner: int) -> None:
    asks = f"{sys.executable} -SE {__file__} run {address}"
    for name in PROGRAMS:
        _write_script(folder / name, f'exec {asks} {name} "$@"')
    _write_script(
        folder / "python",
        f'case "$1" in -m) case "$2" in {"|".join(MODULES)})\n'
        f'exec {asks} python "$@";; esac;; *.py) exec {asks} python "$@";; esac\n'
        f'exec {sys.executable} "$@"',
    )
    command = [sys.executable, __file__, "serve", str(address), str(owner)]
    # What is imported has a look at these.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env={**os.environ, **SHOWN}, start_new_session=True
    )
    while not address.exists():
        assert process.poll() is None, "standby.py did not come up"
        time.sleep(0.1)


def _write_script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def be_program() -> int | None:
    """Run the program that ``sys.argv`` names."""
    if sys.argv[0] == "python":
        script = sys.argv[1] != "-m"
        sys.argv = sys.argv[1 if script else 2 :]
        sys.path[0] = str(Path(sys.argv[0]).resolve().parent if script else Path.cwd())
        if script:
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            sys.modules.pop("prefect.engine", None)  # imported on the way; a module runs once
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return None
    module, name = PROGRAMS[sys.argv[0]]
    found: int | None = getattr(importlib.import_module(module), name)()
    return found


def leave(status: int) -> None:
    """End, with what was written on its way."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


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
    # The last of all is to leave what is imported lie: to take it apart takes a second.
    status = 0
    atexit.register(lambda: leave(status))
    gc.disable()
    import_all()
    gc.freeze()  # what is imported is never garbage: no program looks through it again
    gc.enable()
    serve(sys.argv[2], int(sys.argv[3]))
    try:
        status = be_program() or 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except BaseException:
        status = 1
        raise
