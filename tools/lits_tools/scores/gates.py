"""Limits that an evaluation has to meet, for acceptance tests and CI."""

import difflib
import math
from dataclasses import dataclass

from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.pooling import known_scores


@dataclass(frozen=True)
class Gate:
    """A pooled score and the limit that it must not cross."""

    name: str
    limit: float
    below: bool
    """Whether to fail below the limit rather than above it."""

    @classmethod
    def parse(cls, text: str, *, below: bool) -> "Gate":
        """Read SCORE=VALUE.

        Raises:
            ValueError: it is not of that form, or there is no pooled score of that name.
        """
        name, _, value = text.partition("=")
        try:
            gate = cls(name.strip(), float(value), below)
        except ValueError as error:
            raise ValueError(
                f"{text!r}: expected a score and a number, such as lesion_dice=0.6"
            ) from error
        if gate.name not in (known := known_scores()):
            near = difflib.get_close_matches(gate.name, known, 4, 0.4)
            raise ValueError(f"no score {gate.name!r}: expected {' or '.join(near or known)}")
        return gate

    def broken(self, evaluation: Evaluation) -> str:
        """The reason why an evaluation fails, or "" if it passes.

        An undefined score fails, since nothing shows that it meets the limit, and so does an
        infinite distance in any case.
        """
        estimate = evaluation.pooled[self.name]
        if estimate.infinite and not self.below:
            return f"{self.name} is infinite in {estimate.infinite} of {estimate.cases} cases"
        value = estimate.value
        if math.isnan(value):
            return f"{self.name} is undefined for these cases"
        if value < self.limit if self.below else value > self.limit:
            return (
                f"{self.name} is {value:.6g}, {'below' if self.below else 'above'} {self.limit:g}"
            )
        return ""
