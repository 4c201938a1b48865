"""Every setting of the program: one frozen object, read by :mod:`siamese.loading`.

A field that does not exist, or a value that it cannot take, is an error that names the field.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from siamese.addresses import no_password

SourceKind = Literal["synthetic", "kaggle", "bhsig260", "cedar", "manifest"]
_DAYS = 36_500  # most, of a setting that counts them
_CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # numbers of a cron line
Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A group of settings: frozen, and closed to fields that do not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceSettings(Section):
    """Where signatures come from. Several sources are pooled."""

    kind: SourceKind = "synthetic"
    path: Path | None = Field(
        None, description="folder or manifest; none: download (kaggle), generate (synthetic)"
    )
    name: str = Field("", pattern=r"^[\w.-]*$", description="prefix of writer names; none: kind")
    writers: int = Field(48, ge=6, le=2000, description="synthetic only: number of writers")
    images: int = Field(8, ge=3, le=100, description="synthetic only: images per writer and kind")
    train: str = Field("", description='writers for training ("001-040, 051"); none: by protocol')
    calibration: str = Field("", description="writers for model selection and calibration")
    test: str = Field("", description="writers for the final figures only")

    @property
    def label(self) -> str:
        return self.name or self.kind

    @model_validator(mode="after")
    def _complete(self) -> SourceSettings:
        if self.path is None and self.kind not in ("synthetic", "kaggle"):
            raise ValueError(f"a {self.kind} source needs a path")
        if self.path is not None and self.kind == "synthetic":
            raise ValueError("a synthetic source takes no path; your own have the kind manifest")
        if any((self.train, self.calibration, self.test)) and not all(
            (self.train, self.calibration, self.test)
        ):
            raise ValueError("train, calibration and test are given together or not at all")
        return self


class ImagingSettings(Section):
    """From picture to canvas; part of every model's fingerprint."""

    height: int = Field(216, ge=32, le=512, description="canvas height, pixels")
    width: int = Field(432, ge=32, le=1024, description="canvas width, pixels")
    margin: int = Field(6, ge=0, le=16, description="empty pixels kept around the ink")
    max_bytes: int = Field(50_000_000, gt=0, description="larger files are not decoded")
    max_pixels: int = Field(60_000_000, gt=0, description="larger pictures are not decoded")
    min_ink_width: int = Field(20, ge=1, description="narrower ink is too_small")
    min_ink_height: int = Field(8, ge=1, description="lower ink is too_small")
    max_edge_ink: float = Field(
        0.25, gt=0, le=1, description="share of an edge that may be ink before it is clipped"
    )
    max_gap: float = Field(
        0.45, gt=0, le=1, description="empty share of the width before ink is scattered"
    )


class AuditSettings(Section):
    """What to do about faults in a dataset."""

    on_leak: Literal["repair", "stop"] = Field(
        "repair", description="repair: drop published splits and pair lists that leak; stop: end"
    )
    min_images: int = Field(3, ge=2, description="writers with fewer genuine images are left out")


class SplitSettings(Section):
    """Writers by split, where a source has no protocol of its own."""

    calibration: Share = Field(0.2, description="share of writers for selection and calibration")
    test: Share = Field(0.25, description="share of writers for the final figures")
    folds: int = Field(5, ge=2, le=20, description="folds for cross-validation")

    @model_validator(mode="after")
    def _some_left(self) -> SplitSettings:
        if self.calibration + self.test >= 0.9:
            raise ValueError("calibration + test must leave at least a tenth for training")
        return self


class PairSettings(Section):
    """Pairs are drawn within a split; kinds as in the field: genuine, skilled, random."""

    max_genuine: int = Field(300, ge=1, description="most genuine pairs per writer")
    max_skilled: int = Field(300, ge=1, description="most skilled-forgery pairs per writer")
    max_random: int = Field(300, ge=1, description="most random-forgery pairs per writer")


class NetworkSettings(Section):
    """The shared-weight network."""

    widths: tuple[int, ...] = Field((32, 48, 96, 160), description="channels of the stages")
    embedding: int = Field(128, ge=8, le=1024, description="numbers that are learnt")
    strokes: int = Field(384, ge=0, le=512, description="numbers that say how strokes run")

    @property
    def length(self) -> int:
        """Of the vectors."""
        return self.embedding + (self.strokes + 1 if self.strokes else 0)

    @field_validator("widths")
    @classmethod
    def _plausible(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not 2 <= len(widths) <= 6 or any(not 4 <= width <= 512 for width in widths):
            raise ValueError("takes 2 to 6 stages of 4 to 512 channels")
        return widths


class TrainingSettings(Section):
    """The training run."""

    steps: int = Field(500, ge=1, description="optimiser steps")
    writers_per_batch: int = Field(16, ge=2, description="writers in a batch")
    genuine_per_writer: int = Field(3, ge=2, description="genuine images of each in a batch")
    forgeries_per_writer: int = Field(2, ge=0, description="skilled forgeries of each in a batch")
    margin_genuine: float = Field(0.2, ge=0, lt=2, description="genuine pairs closer cost nothing")
    margin_forgery: float = Field(1.0, gt=0, le=2, description="forgery pairs farther cost nothing")
    skilled_weight: float = Field(1.0, ge=0, description="weight of the skilled term")
    random_weight: float = Field(1.0, ge=0, description="weight of the random term")
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.05, ge=0, description="AdamW weight decay")
    augment: bool = Field(True, description="affine, stroke-thickness and ink augmentation")
    evaluate_every: int = Field(100, ge=1, description="steps between evaluations (an epoch)")
    patience: int = Field(0, ge=0, description="evaluations without a better EER; 0: never stop")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if there is one")
    processes: int = Field(1, ge=1, le=64, description="that train together, a GPU each")
    turn: int = Field(0, ge=0, description="another one trains again, with other random choices")

    @model_validator(mode="after")
    def _margins(self) -> TrainingSettings:
        if self.margin_forgery <= self.margin_genuine:
            raise ValueError("margin_forgery must be greater than margin_genuine")
        return self


class TierSettings(Section):
    """What is tolerated from some amount on."""

    amount_from: float = Field(gt=0, description="claims of this amount and more")
    max_far_skilled: Share = Field(description="accept only while FAR_skilled is at most")
    max_frr: Share = Field(description="reject only while FRR is at most")


class PolicySettings(Section):
    """What a claims team tolerates."""

    max_far_skilled: Share = Field(0.05, description="accept only while FAR_skilled is at most")
    max_frr: Share = Field(0.05, description="reject only while FRR is at most")
    prior: Share = Field(0.5, description="share of questioned signatures that are genuine")
    bootstrap: int = Field(1000, ge=100, description="resamples of writers for intervals")
    amount_column: str = Field("", description="manifest column that the tiers go by")
    tiers: tuple[TierSettings, ...] = Field((), description="other limits for larger amounts")

    @model_validator(mode="after")
    def _tiers_rise(self) -> PolicySettings:
        amounts = [tier.amount_from for tier in self.tiers]
        if amounts != sorted(set(amounts)):
            raise ValueError("tiers must have rising amount_from")
        if bool(self.tiers) != bool(self.amount_column):
            raise ValueError("amount_column and tiers are given together or not at all")
        return self

    def at(self, tier: TierSettings | None) -> PolicySettings:
        """The same with the limits of one tier, and no tiers."""
        limits = tier.model_dump(exclude={"amount_from"}) if tier else {}
        return self.model_copy(update={**limits, "amount_column": "", "tiers": ()})

    def __str__(self) -> str:
        return f"FAR_skilled<={self.max_far_skilled:g} FRR<={self.max_frr:g} prior={self.prior:g}"


class ScoringSettings(Section):
    """Bulk scoring of a claims folder."""

    shard: int = Field(1024, ge=1, description="claims scored and saved at a time")
    workers: int = Field(0, ge=0, description="decoding processes; 0: one a core")
    cluster: str = Field(
        "",
        pattern=r"^(\w+://\S+)?$",
        description="Dask scheduler whose workers embed, as tcp://host:8786",
    )
    exchange: Annotated[str, AfterValidator(no_password)] = Field(
        "", description="folder or s3:// address that those workers can reach"
    )
    picture_folders: tuple[Path, ...] = Field(
        (), description="outside the claims folder, that a manifest may name pictures of"
    )


class TrackingSettings(Section):
    """MLflow. A password belongs into the environment: ``MLFLOW_TRACKING_URI`` may have one."""

    uri: Annotated[str, AfterValidator(no_password)] = Field(
        "", description="tracking server or database; none: SQLite in data_dir"
    )
    experiment: str = Field("signature-verification", min_length=1)
    model: str = Field("signature-verifier", pattern=r"^[^/:]+$", description="registered name")


class ScheduleSettings(Section):
    """The nightly retraining."""

    cron: str = Field(
        "0 2 * * *", pattern=r"^\S+( +\S+){4}$", description="when, as a cron line of five fields"
    )
    timezone: str = Field("UTC", description="of the cron line, as in Europe/Amsterdam")
    second_run: Literal["skip", "wait"] = Field(
        "skip", description="what a retraining does while another one runs"
    )
    max_age_days: int = Field(
        30, ge=0, le=_DAYS, description="train again on the same data then; 0: never"
    )
    drift_days: int = Field(
        7, ge=1, le=_DAYS, description="claims of these days are looked at for drift"
    )
    drift_cron: str = Field(
        "0 6 * * 1", pattern=r"^\S+( +\S+){4}$", description="when drift is looked for"
    )
    notify: str = Field(
        "",
        pattern=r"^([\w-]+/[\w-]+)?$",
        description="saved Prefect notification block to tell, as in custom-webhook/team",
    )

    @field_validator("cron", "drift_cron")
    @classmethod
    def _in_range(cls, cron: str) -> str:
        for text, (least, most) in zip(cron.split(), _CRON, strict=True):
            for number in re.findall(r"\d+", re.sub(r"/\d+", "", text)):
                if not least <= int(number) <= most:
                    raise ValueError(f"{number} is not between {least} and {most}")
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError("there is no such time zone")
        return timezone


class RetentionSettings(Section):
    """What siamese prune leaves."""

    challengers: int = Field(10, ge=0, description="newest versions that never were champion")
    unused_days: int = Field(
        30, ge=1, le=_DAYS, description="what can be made again and was not used since"
    )


class Settings(Section):
    """All settings."""

    data_dir: Path = Field(Path("data"), description="everything the program writes goes here")
    seed: int = Field(2011, ge=0, lt=2**31, description="of every random choice")
    sources: tuple[SourceSettings, ...] = Field((SourceSettings(),), min_length=1)
    imaging: ImagingSettings = ImagingSettings()
    audit: AuditSettings = AuditSettings()
    split: SplitSettings = SplitSettings()
    pairs: PairSettings = PairSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    policy: PolicySettings = PolicySettings()
    scoring: ScoringSettings = ScoringSettings()
    tracking: TrackingSettings = TrackingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    retention: RetentionSettings = RetentionSettings()

    @field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        labels = [source.label for source in sources]
        if len(set(labels)) != len(labels):
            raise ValueError(f"two sources have the same name {labels}; give each its own name")
        return sources
