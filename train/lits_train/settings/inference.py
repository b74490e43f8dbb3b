"""Settings of inference that a training chooses and a model carries."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from lits_runtime.model.metadata import Postprocessing
from lits_train.limits import INFERENCE_LIMITS, check_fields, shown


@dataclass(frozen=True)
class Inference:
    """One setting of inference."""

    thresholds: tuple[float, ...]
    keep_largest_liver: bool = False
    drop_lesions_outside_liver: bool = False
    min_lesion_ml: float = 0.0
    min_liver_contact: float = 0.0
    search_mm: float = 0.0
    """Distance of the slices in which the liver is looked for first. 0: no search."""
    interpolation_mm: float = 0.0
    """Distance of the slices between which labels are interpolated. 0: none are."""

    def __post_init__(self) -> None:
        check_fields(self, INFERENCE_LIMITS, {})

    @property
    def postprocessing(self) -> Postprocessing:
        """What the runtime does with the labels of a volume."""
        return Postprocessing(
            **{field.name: getattr(self, field.name) for field in fields(Postprocessing)}
        )

    def to_json(self) -> dict[str, Any]:
        """As in a checkpoint."""
        return {
            "postprocessing": asdict(self.postprocessing),
            "search_mm": self.search_mm,
            "interpolation_mm": self.interpolation_mm,
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_json(cls, content: Any) -> "Inference":
        """The inverse of `to_json`.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(
                tuple(content["thresholds"]),
                **content["postprocessing"],
                search_mm=content["search_mm"],
                interpolation_mm=content.get("interpolation_mm", 0.0),  # early files lack it
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not settings of inference: {shown(content)}") from error

    def describe(self) -> str:
        """In a few words.

        >>> Inference((0.5, 0.3), keep_largest_liver=True, min_lesion_ml=0.05).describe()
        'thresholds 0.5, 0.3; largest liver; lesions from 0.05 ml'
        """
        parts = [f"thresholds {', '.join(f'{value:g}' for value in self.thresholds)}"]
        parts += ["largest liver"] * self.keep_largest_liver
        parts += ["no lesions outside the liver"] * self.drop_lesions_outside_liver
        parts += [f"lesions from {self.min_lesion_ml:g} ml"] * (self.min_lesion_ml > 0)
        contact = f"lesions of which {self.min_liver_contact:.0%} border liver"
        parts += [contact] * (self.min_liver_contact > 0)
        parts += [f"search {self.search_mm:g} mm"] * (self.search_mm > 0)
        parts += [f"interpolation {self.interpolation_mm:g} mm"] * (self.interpolation_mm > 0)
        return "; ".join(parts)
