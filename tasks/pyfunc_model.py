"""The registered model: MLflow reads this file as code, so nothing of it is pickled."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from siamese.verifier import Verifier


class SignatureVerifier(PythonModel):  # type: ignore[misc]
    """Pairs of base64 pictures in, distance, probability and decision out.

    A bad picture makes its row ``unusable`` with the reason; the others are answered.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.verifier = Verifier.load(Path(context.artifacts["verifier"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        rows = []
        for reference, questioned in zip(
            model_input["reference"], model_input["questioned"], strict=True
        ):
            made = self.verifier.compare([_bytes(reference)], _bytes(questioned))
            rows.append(made.to_row())
        return pd.DataFrame(rows)


def _bytes(text: str) -> bytes:
    """The picture; nothing when it is not base64, which is then found unreadable."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


mlflow.models.set_model(SignatureVerifier())
