"""Limits that depend on the amount claimed: which verifier decides on which claim."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from siamese.verifier import Verifier


@dataclass(frozen=True)
class Tiers:
    """A verifier for each tier of its policy, the base limits first.

    column : of the manifest that holds the amount; empty without tiers. amounts : the least
    amount of each tier, rising from minus infinity.
    """

    column: str
    amounts: tuple[float, ...]
    verifiers: tuple[Verifier, ...]

    @staticmethod
    def of(verifier: Verifier) -> Tiers:
        """The tiers of a verifier's own policy."""
        policy = verifier.policy
        steps = (None, *policy.tiers)
        return Tiers(
            policy.amount_column,
            tuple(step.amount_from if step else -math.inf for step in steps),
            tuple(verifier.under(policy.at(step)) for step in steps),
        )

    def choose(self, further: Mapping[str, str]) -> tuple[Verifier, str]:
        """The verifier for a claim with these columns, and a sentence when they do not tell.

        A claim whose amount is not a number gets the tier that accepts least.
        """
        if not self.column:
            return self.verifiers[0], ""
        text = further.get(self.column, "").strip()
        try:
            amount = float(text)
        except ValueError:
            amount = math.nan
        if not math.isfinite(amount):
            strictest = min(self.verifiers, key=lambda one: one.policy.max_far_skilled)
            told = f"Its {self.column} {text!r} is not a number, so the strictest limits hold."
            return strictest, told
        place = sum(least <= amount for least in self.amounts) - 1
        return self.verifiers[place], ""
