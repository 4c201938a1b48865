"""The registered model: MLflow reads this file as code, so nothing of it is pickled."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from siamese.loading import PICTURES
from siamese.verifier import Verifier

_MOST = 1024  # pairs in a request


class SignatureVerifier(PythonModel):  # type: ignore[misc]
    """Pairs in, distance, probability and decision out.

    Each of ``reference`` and ``questioned`` is a picture in base64, or ``file:`` and its path
    below the folder that ``SIAMESE_PICTURES`` names. A bad picture makes its row ``unusable``
    with the reason; what is no picture at all is a bad request.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.verifier = Verifier.load(Path(context.artifacts["verifier"]))
        self.root = os.environ.get(PICTURES, "")  # without it, none is read

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        if len(model_input) > _MOST:
            raise _bad(f"{len(model_input)} pairs are too many; send at most {_MOST}.")
        pairs = [
            (
                [self._bytes(reference, f"reference of pair {row}")],
                self._bytes(questioned, f"questioned of pair {row}"),
            )
            for row, (reference, questioned) in enumerate(
                zip(model_input["reference"], model_input["questioned"], strict=True)
            )
        ]
        return pd.DataFrame([made.to_row() for made in self.verifier.compare_all(pairs)])

    def _bytes(self, text: object, what: str) -> bytes:
        if not isinstance(text, str):  # MLflow lets a null through
            raise _bad(f"The {what} is neither base64 nor file:PATH.")
        if text.startswith("file:"):
            return self._file(text.removeprefix("file:"), what)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _bad(f"The {what} is neither base64 nor file:PATH.") from error

    def _file(self, name: str, what: str) -> bytes:
        if not self.root:
            raise _bad(f"The {what} is a path, but {PICTURES} names no folder to read from.")
        root, most = Path(self.root).resolve(), self.verifier.imaging_settings.max_bytes
        try:
            path = (root / name).resolve()
            inside = path.is_relative_to(root) and path.is_file()
            data = path.read_bytes() if inside and path.stat().st_size <= most else b""
        except (OSError, ValueError):
            data = b""
        if not data:
            # One answer for all: whether a file exists elsewhere is nobody's business.
            raise _bad(f"The {what} is no readable file below the folder of {PICTURES}.")
        return data


def _bad(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(why)


mlflow.models.set_model(SignatureVerifier())
