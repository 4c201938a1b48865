"""A trained, calibrated verifier: what is registered, saved, loaded and used.

On disk it is ``weights.safetensors``, ``verifier.json`` and the Parquet files of its record.
Nothing in them is code; the checksum of each is verified when they are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError

from siamese import config, embedding, imaging
from siamese.calibration import Calibration, policy_thresholds
from siamese.config import ImagingSettings, NetworkSettings, PolicySettings
from siamese.copies import copies_of, perceptual_hash
from siamese.decision import NOT_USABLE, Comparison, decide, standings
from siamese.embedding import embed
from siamese.errors import RunError
from siamese.files import code_version, fingerprint, read_json, replace_file, sha256_of, write_json
from siamese.model import SignatureNet, folded, load_network, save_weights
from siamese.record import Record

_WEIGHTS, _FACTS = "weights.safetensors", "verifier.json"
_FORMAT = 9  # raised when the meaning of verifier.json changes


_CALIBRATIONS: TypeAdapter[list[Calibration]] = TypeAdapter(
    Annotated[list[Calibration], Field(min_length=1)], config=ConfigDict(allow_inf_nan=False)
)

_NEAR: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, le=2)])


#: What a file that was tampered with may raise where it is read.
_DAMAGE = (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError)


class VerifierError(RunError):
    """A saved verifier that cannot be trusted or read; the message says why."""


@dataclass(frozen=True)
class Verifier:
    """The network with all that a decision needs.

    Attributes
    ----------
    calibrations : by number of references, ascending; the first is for one.
    provenance : seed, data fingerprint, config and code version that it was made with.
    record : the trials that it was calibrated and tested on.
    near_hands : of its calibration, see :mod:`siamese.stretch`; 0: bulk scoring stretches nothing.
    """

    network: SignatureNet
    network_settings: NetworkSettings
    imaging_settings: ImagingSettings
    policy: PolicySettings
    calibrations: tuple[Calibration, ...]
    provenance: dict[str, Any]
    record: Record = field(default_factory=Record)
    near_hands: float = 0.0

    @cached_property
    def embedding_fingerprint(self) -> str:
        """Names this way of making vectors: weights, imaging and the code of both."""
        return fingerprint(
            sha256_of(self.weights()),
            self.imaging_settings.model_dump(),
            code_version(imaging, (config,)),
            code_version(embedding, (config,)),
        )

    def weights(self) -> bytes:
        """The network as safetensors."""
        return save_weights(self.network)

    def calibration(self, n_references: int) -> Calibration:
        """The calibration for a number of references, or for the next smaller one."""
        fitting = [c for c in self.calibrations if c.n_references <= n_references]
        return fitting[-1] if fitting else self.calibrations[0]

    def under(self, policy: PolicySettings) -> Verifier:
        """The same verifier with the thresholds of another policy, from its own record.

        Raises
        ------
        VerifierError : it has no record of its calibration.
        """
        if policy.at(None) == self.policy.at(None):
            return replace(self, policy=policy)
        made = []
        for calibration in self.calibrations:
            trials = self.record.calibrated_with(calibration.n_references)
            if trials is None:
                raise VerifierError(
                    "This model has no record of its calibration, so it decides by its own policy "
                    f"only ({self.policy}). Train or recalibrate to have another."
                )
            accept_at, reject_at, _ = policy_thresholds(trials, policy)
            made.append(replace(calibration, accept_at=accept_at, reject_at=reject_at))
        return replace(self, policy=policy, calibrations=tuple(made))

    def embed(self, canvases: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit vectors (N, E) of canvases (N, H, W)."""
        return embed(self.folded, canvases)

    @cached_property
    def folded(self) -> SignatureNet:
        """The network to embed with: :func:`siamese.model.folded`."""
        return folded(self.network)

    def compare(self, references: list[bytes], questioned: bytes) -> Comparison:
        """Compare the bytes of pictures; a bad picture makes the comparison ``unusable``.

        By distances as they are: who else signs there, which bulk scoring looks at, is not known.
        """
        return self.compare_all([(references, questioned)])[0]

    def compare_all(self, claims: Sequence[tuple[list[bytes], bytes]]) -> list[Comparison]:
        """Each (references, questioned) compared; a picture that occurs twice is embedded once.

        A reference that is given twice counts once.
        """
        distinct = dict.fromkeys(
            data for references, asked in claims for data in (asked, *references)
        )
        canvases = {data: imaging.prepare(data, self.imaging_settings) for data in distinct}
        usable = [data for data, canvas in canvases.items() if canvas.usable]
        row = {data: place for place, data in enumerate(usable)}
        pixels = np.zeros((len(usable), *self._canvas_shape), np.uint8)
        for data, place in row.items():
            pixels[place] = canvases[data].pixels
        hashes = [perceptual_hash(canvas) for canvas in pixels]
        rows = [
            (row[asked], [row[one] for one in dict.fromkeys(references) if one in row])
            if asked in row
            else NOT_USABLE
            for references, asked in claims
        ]
        return [
            decide(
                self.policy,
                standing,
                qualities=tuple(canvases[data].quality for data in (asked, *references)),
                details=tuple(canvases[data].detail for data in (asked, *references)),
                copies=copies_of(hashes[own], [hashes[one] for one in others]) if others else [],
                usable=[references.index(one) for one in dict.fromkeys(references) if one in row],
            )
            for (references, asked), (own, others), standing in zip(
                claims,
                rows,
                standings(self.embed(pixels), rows, [self] * len(rows)),
                strict=True,
            )
        ]

    @property
    def _canvas_shape(self) -> tuple[int, int]:
        return self.imaging_settings.height, self.imaging_settings.width

    def save(self, folder: Path) -> None:
        """Write all files, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {_WEIGHTS: self.weights(), **self.record.to_files()}
        for name, data in files.items():
            with replace_file(folder / name) as handle:
                handle.write(data)
        write_json(
            folder / _FACTS,
            {
                "format": _FORMAT,
                "sha256": {name: sha256_of(data) for name, data in files.items()},
                "network": self.network_settings.model_dump(),
                "imaging": self.imaging_settings.model_dump(),
                "policy": self.policy.model_dump(),
                "calibrations": [c.to_dict() for c in self.calibrations],
                "near_hands": self.near_hands,
                "provenance": self.provenance,
            },
        )

    @staticmethod
    def load(folder: Path) -> Verifier:
        """Read a saved verifier.

        Raises
        ------
        VerifierError : a file is missing or is not the one that was saved.
        """
        try:
            facts = read_json(folder / _FACTS)
        except (OSError, ValueError) as error:
            raise VerifierError(f"No readable verifier in {folder}: {error}") from error
        if not isinstance(facts, dict):
            raise VerifierError(f"{folder / _FACTS} does not describe a verifier.")
        if facts.get("format") != _FORMAT:
            raise VerifierError(
                f"The verifier in {folder} has format {facts.get('format')}; this version reads "
                f"{_FORMAT}. Train a new one: siamese retrain."
            )
        try:
            # Plain names only: a path in a tampered file leads nowhere.
            files = {name: (folder / Path(name).name).read_bytes() for name in facts["sha256"]}
            for name, data in files.items():
                if sha256_of(data) != facts["sha256"][name]:
                    raise VerifierError(f"{name} in {folder} is not the file that was saved there.")
            settings = NetworkSettings(**facts["network"])
            return Verifier(
                load_network(files[_WEIGHTS], settings),
                settings,
                ImagingSettings(**facts["imaging"]),
                PolicySettings(**facts["policy"]),
                tuple(_CALIBRATIONS.validate_python(facts["calibrations"], strict=False)),
                dict(facts["provenance"]),
                Record.from_files(files),
                _NEAR.validate_python(facts["near_hands"]),
            )
        except VerifierError:
            raise
        except _DAMAGE as error:
            raise VerifierError(f"The verifier in {folder} is damaged: {error}") from error
