"""Run flows in processes for a test to kill.

``run_flows.py DATA`` imports everything once; for each line of JSON on its input, ``[flow,
arguments, settings]``, it forks a process that runs the flow, writes the process's id, and when
that has ended its exit status. What the processes say goes to ``DATA/../log``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from flows.console import prepare_environment
from siamese.loading import load_settings

DATA = Path(sys.argv[1])
prepare_environment(load_settings(None, {"data_dir": DATA}))

from flows.embed_on_cluster import embed_packets  # noqa: E402 - they read the environment
from flows.enrol_references import enrol_references  # noqa: E402
from flows.forget_writer import forget_writer  # noqa: E402
from flows.keep_feedback import keep_feedback  # noqa: E402
from flows.nightly_retrain import nightly_retrain  # noqa: E402
from flows.prepare_data import prepare_data  # noqa: E402
from flows.prune_old import prune_old  # noqa: E402
from flows.recalibrate_champion import recalibrate_champion  # noqa: E402
from flows.roll_back import roll_back  # noqa: E402
from flows.score_claims import score_claims  # noqa: E402
from flows.train_and_register import train_and_register  # noqa: E402
from flows.watch_drift import watch_drift  # noqa: E402
from tasks.champion import version_files  # noqa: E402


def run(flow: str, arguments: list[str], overrides: dict[str, Any]) -> None:
    settings = load_settings(None, {"data_dir": DATA, **overrides})
    paths = [Path(text) for text in arguments]
    {
        "prepare": lambda: prepare_data(settings),
        "train": lambda: train_and_register(settings),
        "enrol": lambda: enrol_references(settings, *paths),
        "score": lambda: score_claims(*paths, settings),
        "embed": lambda: embed_packets(settings, version_files(settings, "1"), *paths),
        "feedback": lambda: keep_feedback(settings, *paths),
        "recalibrate": lambda: recalibrate_champion(settings, *paths),
        "rollback": lambda: roll_back(settings, *arguments),
        "nightly": lambda: nightly_retrain(settings),
        "watch": lambda: watch_drift(settings),
        "prune": lambda: prune_old(settings),
        "forget": lambda: forget_writer(settings, *arguments),
    }[flow]()


def main() -> None:
    gc.freeze()  # what is imported is never garbage: no flow looks through it again
    for line in sys.stdin:
        child = os.fork()  # before anything has started a thread
        if child == 0:
            with (DATA.parent / "log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            try:
                run(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
