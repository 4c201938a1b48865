"""Spread: pictures embedded by whatever machines the flow's task runner has."""

from __future__ import annotations

import functools
import itertools
import platform
from collections import deque
from pathlib import Path

from prefect import get_run_logger, task

from siamese import packets
from siamese.config import Settings
from siamese.errors import InputError
from siamese.files import fingerprint
from siamese.places import Place
from siamese.scoring import Stores
from siamese.verifier import Verifier
from tasks.score import claims_of, enrolment_of
from tasks.stage import Output

_AT_ONCE = 64  # packets on their way
_MOST = 512  # claims a packet: its pictures are in memory, here and at a worker


@task(name="embed_packet", retries=3, retry_delay_seconds=2)
def embed_packet(address: str, model: str, name: str, workers: int) -> None:
    """Canvases and vectors of one packet, made on the machine that this task runs on."""
    packets.embed_packet(name, Place.of(address), _verifier(address, model), workers)


@functools.lru_cache(maxsize=1)
def _verifier(address: str, model: str) -> Verifier:
    """Read once by each process of a worker."""
    return packets.fetch_verifier(Place.of(address), model)


def spread(settings: Settings, model: Output, claims_dir: Path) -> int:
    """Have the stores filled with what the claims need; returns the number of pictures.

    To be called in a flow: its task runner says where the packets are embedded.
    """
    data_dir = settings.data_dir.resolve()
    try:
        place = Place.of(settings.scoring.exchange or data_dir / "exchange")
    except ValueError as error:
        raise InputError(f"scoring.exchange is no address that can be used: {error}.") from error
    # A worker may run in another folder than this.
    address = settings.scoring.exchange if place.local is None else str(place.local)
    sender = fingerprint(platform.node(), data_dir)
    verifier = Verifier.load(model.path)
    stores, enrolment = Stores.of(verifier, data_dir / "store"), enrolment_of(settings)
    found = claims_of(settings, claims_dir, enrolment)
    sent = packets.send_verifier(model.path, place)
    step = min(settings.scoring.shard, _MOST)
    names = packets.pack(found, enrolment, verifier, stores, place, step, sender)
    total, workers = 0, settings.scoring.workers
    begun = ((name, embed_packet.submit(address, sent, name, workers)) for name in names)
    on_their_way = deque(itertools.islice(begun, _AT_ONCE))
    while on_their_way:
        name, run = on_their_way.popleft()
        run.result()
        total += packets.unpack(name, place, stores)
        get_run_logger().info(f"{total:,} pictures embedded elsewhere.")
        on_their_way.extend(itertools.islice(begun, 1))
    return total
