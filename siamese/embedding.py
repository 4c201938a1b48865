"""Canvases to vectors, on all cores or on the network's GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from siamese.memory import hold_memory
from siamese.model import SignatureNet, to_input

_BATCH = 8  # canvases; what a core works on stays in its cache, and little of a last one is padding
_GPU_BATCH = 128
_HELD = 8 * 2**20  # bytes; what a batch needs is in smaller blocks, canvases of a shard are not


def embed(
    network: SignatureNet, canvases: npt.NDArray[np.uint8], batch: int | None = None
) -> npt.NDArray[np.float32]:
    """Unit vectors (N, E) of canvases (N, H, W), on the network's own device.

    In float32, and in batches that are always full (the last is padded): a vector is then the
    same to the last bit whatever else is embedded with it.
    """
    hold_memory(_HELD)
    was_training = network.training
    network.eval()
    vectors = in_batches(network, canvases, next(network.parameters()).device, batch)
    network.train(was_training)
    return vectors


def in_batches(
    told: Callable[[Tensor], Tensor],
    canvases: npt.NDArray[np.uint8],
    device: torch.device,
    batch: int | None = None,
) -> npt.NDArray[np.float32]:
    """What is told, (N, …), of canvases (N, H, W), as input (B, 1, H, W) on a device."""
    batch = batch or (_BATCH if device.type == "cpu" else _GPU_BATCH)

    def done(start: int) -> npt.NDArray[np.float32]:
        part = canvases[start : start + batch]
        full = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0)))
        with torch.inference_mode():
            inputs = to_input(torch.from_numpy(full).to(device))
            some: npt.NDArray[np.float32] = told(inputs)[: len(part)].float().cpu().numpy()
        return some

    starts = range(0, max(len(canvases), 1), batch)  # of none, too, the shape is told
    made = on_all_cores(done, starts) if device.type == "cpu" else map(done, starts)
    return np.concatenate(list(made))


def on_all_cores(
    work: Callable[[int], npt.NDArray[np.float32]], starts: Sequence[int]
) -> list[npt.NDArray[np.float32]]:
    """The work on each start, by as many threads as torch would use, each on a core of its own.

    Cores that share a batch wait for each other at every layer, and much longer when other
    processes (which decode pictures, say) have some of them: ``benchmarks/throughput.py``. A sum
    is also the same to the last bit then, however many cores there are.
    """
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=_stay_on_one_core) as pool:
        return list(pool.map(work, starts))


def _stay_on_one_core() -> None:
    torch.get_num_threads()  # torch sets a thread's number when it is first asked, and not again
    threadpool_limits(1, user_api="openmp")  # of this thread; torch.set_num_threads is of all
