"""Load on the served champion: requests a second and latency, single pairs and batches of 64.

    python benchmarks/serving.py [--seconds 20] [--clients 4] [--data-dir data]

Serves the champion of a data folder with ``mlflow models serve`` on loopback, and asks it about
the pairs of drawn signatures from several clients at once. Prints Markdown.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from machine import machine

from siamese import handwriting


def drawn_pairs(count: int) -> list[dict[str, str]]:
    """Pairs of distinct drawn signatures, as the model takes them."""
    rng = np.random.default_rng(5)

    def picture() -> str:
        plan = handwriting.new_writer(rng)
        out = io.BytesIO()
        handwriting.draw(handwriting.genuine_variant(plan, rng), rng).save(out, "PNG")
        return base64.b64encode(out.getvalue()).decode()

    return [{"reference": picture(), "questioned": picture()} for _ in range(count)]


def ask(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> list[float]:
    """Latency of every request, in seconds."""
    taken: list[float] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        place = number
        while time.monotonic() < end:
            began = time.monotonic()
            status = ask(port, bodies[place % len(bodies)])
            if status != 200:
                raise SystemExit(f"The server answered {status}.")
            taken.append(time.monotonic() - began)
            place += clients

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = f"sqlite:///{arguments.data_dir.resolve()}/mlflow/mlflow.db"
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local",
            "-m", "models:/signature-verifier@champion", "-h", "127.0.0.1", "-p", str(port),
        ],
        env={**os.environ, "MLFLOW_TRACKING_URI": database, "PATH": paths},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        pairs = drawn_pairs(64)
        many = json.dumps({"dataframe_records": pairs}).encode()
        single = [json.dumps({"dataframe_records": [pair]}).encode() for pair in pairs]
        for _ in range(300):
            try:
                if ask(port, single[0]) == 200:
                    break
            except OSError:
                time.sleep(1)
        print(f"{machine()}, ")
        print(f"{arguments.clients} clients, {arguments.seconds:.0f} s each.\n")
        print("| request | requests/s | pairs/s | median | p99 |\n| --- | --- | --- | --- | --- |")
        for title, bodies, size in (("one pair", single, 1), ("64 pairs", [many], 64)):
            began = time.monotonic()
            taken = load(port, bodies, arguments.clients, arguments.seconds)
            rate = len(taken) / (time.monotonic() - began)
            median, p99 = np.percentile(taken, [50, 99]) * 1000
            print(
                f"| {title} | {rate:.1f} | {rate * size:.0f} | {median:.0f} ms | {p99:.0f} ms "
                f"(n = {len(taken)}) |"
            )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
