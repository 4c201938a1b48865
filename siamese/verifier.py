"""A trained, calibrated verifier: what is registered, saved, loaded and used.

On disk it is ``weights.safetensors``, ``verifier.json`` and the Parquet files of its record.
Nothing in them is code; the checksum of each is verified when they are loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError

from siamese import config, imaging, training
from siamese.calibration import Calibration, p_genuine, policy_thresholds
from siamese.config import ImagingSettings, NetworkSettings, PolicySettings
from siamese.copies import perceptual_hash, same_picture
from siamese.errors import RunError
from siamese.files import code_version, fingerprint, read_json, replace_file, sha256_of, write_json
from siamese.model import SignatureNet, load_network, save_weights
from siamese.record import Record
from siamese.training import embed
from siamese.trials import fuse, spread_of

_WEIGHTS, _FACTS = "weights.safetensors", "verifier.json"
_FORMAT = 3  # raised when the meaning of verifier.json changes


_CALIBRATIONS: TypeAdapter[list[Calibration]] = TypeAdapter(
    Annotated[list[Calibration], Field(min_length=1)], config=ConfigDict(allow_inf_nan=False)
)


#: What a file that was tampered with may raise where it is read.
_DAMAGE = (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError)


class VerifierError(RunError):
    """A saved verifier that cannot be trusted or read; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """One questioned signature against its references.

    ``decision`` is accept, review, reject or unusable; the rest is nan or empty when unusable.
    """

    decision: str
    reason: str
    detail: str
    distance: float = float("nan")
    log10_lr: float = float("nan")
    p_genuine: float = float("nan")
    closest_reference: int = -1

    def to_row(self) -> dict[str, Any]:
        """What is answered to one pair: all but the place of the closest reference."""
        return {name: value for name, value in asdict(self).items() if name != _PLACE}


_PLACE = "closest_reference"


@dataclass(frozen=True)
class Verifier:
    """The network with all that a decision needs.

    Attributes
    ----------
    calibrations : by number of references, ascending; the first is for one.
    provenance : seed, data fingerprint, config and code version that it was made with.
    record : the trials that it was calibrated and tested on.
    """

    network: SignatureNet
    network_settings: NetworkSettings
    imaging_settings: ImagingSettings
    policy: PolicySettings
    calibrations: tuple[Calibration, ...]
    provenance: dict[str, Any]
    record: Record = field(default_factory=Record)

    @property
    def embedding_fingerprint(self) -> str:
        """Names this way of making vectors: weights, imaging and the code of both."""
        return fingerprint(
            sha256_of(self.weights()),
            self.imaging_settings.model_dump(),
            code_version(imaging, (config,)),
            code_version(training, (config,)),
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
        return embed(self.network, canvases)

    def compare(self, references: list[bytes], questioned: bytes) -> Comparison:
        """Compare the bytes of pictures; a bad picture makes the comparison ``unusable``."""
        canvases = [imaging.prepare(data, self.imaging_settings) for data in references]
        asked = imaging.prepare(questioned, self.imaging_settings)
        usable = [i for i, canvas in enumerate(canvases) if canvas.usable]
        pictures = np.stack([asked.pixels, *(canvases[i].pixels for i in usable)])
        vectors = embed(self.network, pictures, batch=8)
        hashes = [perceptual_hash(canvases[i].pixels) for i in usable]
        asked_hash = perceptual_hash(asked.pixels)
        return decide(
            self,
            vectors[0],
            vectors[1:],
            qualities=(asked.quality, *(canvas.quality for canvas in canvases)),
            details=(asked.detail, *(canvas.detail for canvas in canvases)),
            copies=copies_of(asked_hash, hashes),
            usable=usable,
        )

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
            )
        except VerifierError:
            raise
        except _DAMAGE as error:
            raise VerifierError(f"The verifier in {folder} is damaged: {error}") from error


def copies_of(questioned: str, references: list[str]) -> list[bool]:
    """Whether the questioned picture repeats each reference, by their perceptual hashes."""
    return same_picture([questioned], references)[0].tolist() if references else []


def decide(
    verifier: Verifier,
    questioned: npt.NDArray[np.float32],
    references: npt.NDArray[np.float32],
    *,
    qualities: tuple[str, ...],
    details: tuple[str, ...],
    copies: list[bool],
    usable: list[int],
) -> Comparison:
    """The decision on one questioned signature.

    Parameters
    ----------
    questioned : (E,). references : (R, E) vectors of the usable references only.
    qualities, details : of the questioned signature, then of every reference given.
    copies : (R,) whether the questioned picture repeats that reference.
    usable : (R,) place of each among all references given.
    """
    if qualities[0] not in imaging.USABLE:
        return Comparison("unusable", f"questioned_{qualities[0]}", f"Questioned: {details[0]}")
    if not usable:
        named = next(iter(qualities[1:]), "missing")
        told = next(iter(details[1:]), "There is none.")
        return Comparison("unusable", f"reference_{named}", f"No usable reference. {told}")
    distances = np.linalg.norm(references - questioned, axis=1).astype(np.float64)
    closest = usable[int(distances.argmin())]
    calibration = verifier.calibration(len(usable))
    spread = spread_of(references)
    # Where only single references were calibrated, the mean keeps to that calibration's side.
    distance = float(fuse(distances, spread if calibration.n_references > 1 else 0.0))
    log10_lr = float(calibration.log10_lr(np.array(distance)))
    probability = float(p_genuine(np.array(log10_lr), verifier.policy.prior))
    decision = str(calibration.decide(np.array(distance)))
    reason, told = _reason(decision, verifier.policy)
    if any(copies):
        decision, reason = "review", "pasted"
        told = "The questioned picture is a copy of a reference; nobody signs the same way twice."
    elif decision == "accept" and calibration.disagree(spread):
        decision, reason = "review", "references_disagree"
        told = "The references differ more than one writer's do; are they all by one person? Check."
    elif decision == "accept" and (faulty := _first_fault(qualities, usable)) is not None:
        side = "questioned" if faulty == 0 else "reference"
        decision, reason = "review", f"{side}_{qualities[faulty]}"
        told = f"Close enough to accept, but look at the pictures. {details[faulty]}"
    return Comparison(decision, reason, told, distance, log10_lr, probability, closest)


def _first_fault(qualities: tuple[str, ...], usable: list[int]) -> int | None:
    """Place among ``qualities`` of the first compared picture that is not ``ok``."""
    compared = (0, *(place + 1 for place in usable))
    return next((place for place in compared if qualities[place] != "ok"), None)


def _reason(decision: str, policy: PolicySettings) -> tuple[str, str]:
    if decision == "accept":
        return "close", (
            "Closer to the references than all but "
            f"{policy.max_far_skilled:.1%} of skilled forgeries in calibration."
        )
    if decision == "reject":
        return "far", (
            f"Farther from the references than all but {policy.max_frr:.1%} of genuine "
            "signatures in calibration."
        )
    return "between", "Between the two thresholds of the policy: a person should look."
