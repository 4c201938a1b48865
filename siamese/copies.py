"""Copies of one picture, known by what they look like and not by their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from siamese.reading import Grey


def perceptual_hash(canvas: Grey) -> str:
    """Difference hash of a canvas, 256 bits as 64 hex digits.

    Nearly equal for a picture and its re-encoded copy (other format, depth or size), which
    sha256 would call two pictures; see :func:`same_picture`.
    """
    small = np.asarray(Image.fromarray(canvas).resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


#: Most bits of 256 in which the hashes of a picture and its copy differ. Among real signatures
#: of one writer the count of pairs has its valley here, between copies and honest likeness;
#: two signatures of different writers differ in 12 bits and more.
COPY_BITS = 6


def copies_of(questioned: str, references: Sequence[str]) -> list[bool]:
    """Whether a picture repeats each of some others, by their hashes.

    >>> copies_of("00ff", ["00fe", "ff00"])
    [True, False]
    """
    bits = int(questioned, 16)
    return [(bits ^ int(other, 16)).bit_count() <= COPY_BITS for other in references]


def same_picture(left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of some hashes are copies of which of others, (L,) and (R,) to (L, R)."""
    # Bits as ±1: a dot product of 256 − 2 d, d the number of bits that differ.
    a, b = _signs(left), _signs(right)
    return np.asarray(a @ b.T >= 256 - 2 * COPY_BITS)


def _signs(hashes: Sequence[str]) -> npt.NDArray[np.float32]:
    data = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)
    return np.unpackbits(data, axis=1).astype(np.float32) * 2 - 1
