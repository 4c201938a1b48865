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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import console
from siamese.config import Settings
from siamese.loading import load_settings

#: What runs a flow: of its settings, its arguments as paths, and as they are.
Run = Callable[[Settings, list[Path], list[str]], Any]


def import_flows() -> dict[str, Run]:
    """Only when the environment is set: Prefect reads it when it is imported."""
    from flows.embed_on_cluster import embed_packets
    from flows.enrol_references import enrol_references
    from flows.forget_writer import forget_writer
    from flows.keep_feedback import keep_feedback
    from flows.nightly_retrain import nightly_retrain
    from flows.prepare_data import prepare_data
    from flows.prune_old import prune_old
    from flows.recalibrate_champion import recalibrate_champion
    from flows.roll_back import roll_back
    from flows.score_claims import score_claims
    from flows.train_and_register import train_and_register
    from flows.watch_drift import watch_drift
    from tasks.champion import version_files

    return {
        "prepare": lambda settings, paths, words: prepare_data(settings),
        "train": lambda settings, paths, words: train_and_register(settings),
        "enrol": lambda settings, paths, words: enrol_references(settings, *paths),
        "score": lambda settings, paths, words: score_claims(*paths, settings),
        "embed": lambda settings, paths, words: embed_packets(
            settings, version_files(settings, "1"), *paths
        ),
        "feedback": lambda settings, paths, words: keep_feedback(settings, *paths),
        "recalibrate": lambda settings, paths, words: recalibrate_champion(settings, *paths),
        "rollback": lambda settings, paths, words: roll_back(settings, *words),
        "nightly": lambda settings, paths, words: nightly_retrain(settings),
        "watch": lambda settings, paths, words: watch_drift(settings),
        "prune": lambda settings, paths, words: prune_old(settings),
        "forget": lambda settings, paths, words: forget_writer(settings, *words),
    }


def main() -> None:
    data = Path(sys.argv[1])
    console.prepare_environment(load_settings(None, {"data_dir": data}))
    runs = import_flows()
    gc.freeze()  # what is imported is never garbage: no flow looks through it again
    for line in sys.stdin:
        child = os.fork()  # before anything has started a thread
        if child == 0:
            with (data.parent / "log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            flow, arguments, overrides = json.loads(line)
            try:
                settings = load_settings(None, {"data_dir": data, **overrides})
                runs[flow](settings, [Path(text) for text in arguments], arguments)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
