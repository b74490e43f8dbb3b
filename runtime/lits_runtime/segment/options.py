"""The options of one segmentation: what a caller decides, and what applies with a model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lits_runtime.arguments import described, flag, real_number
from lits_runtime.errors import ArgumentError, OptionsError
from lits_runtime.labels import MASKS
from lits_runtime.model.metadata import ModelMetadata, Postprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MASK_KINDS = ("labels", *MASKS)
"""All labels, or 0 and 1 for one class."""


@dataclass(frozen=True)
class Options:
    """Options that decide the labels. By default they are as the model says."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By class, in place of the model's: the probability from which a voxel belongs to it."""
    tta: bool = False
    """Average over the transforms that the model was trained with."""
    keep_largest_liver: bool | None = None
    """Keep only the largest connected component of the liver, with the lesions in it. None, here
    and for the other steps of post-processing: as the model says."""
    min_lesion_ml: float | None = None
    """Lesions under this volume become liver; 0: none."""
    drop_lesions_outside_liver: bool | None = None
    """Lesions that touch no liver become background."""
    min_liver_contact: float | None = None
    """Lesions become background of whose surface less than this fraction borders liver; 0: none."""
    postprocessing: bool = True
    """Whether the model's own post-processing applies, where no step is given above."""
    search: bool = True
    """Whether slices between two without liver may be left out, if the model allows it."""
    interpolation: bool = True
    """Whether the labels of slices between two may be interpolated, if the model allows it."""
    strict: bool = False
    """Warnings about the scan are errors."""

    def __post_init__(self) -> None:
        """Check each option's type, and store plain values, which can be pickled and compared.

        Raises:
            ArgumentError: of another type; NumPy's scalars are accepted.
            OptionsError: a number that is not finite.
        """
        if not isinstance(self.thresholds, Mapping):
            raise ArgumentError(
                f"thresholds: {described(self.thresholds)}, expected a dict, as {{'lesion': 0.4}}"
            )
        if any(not isinstance(name, str) for name in self.thresholds):
            raise ArgumentError("thresholds: expected names of classes, such as {'lesion': 0.4}")
        plain: dict[str, Any] = {
            "thresholds": {
                name: real_number(f"threshold of {name}", value)
                for name, value in self.thresholds.items()
            },
        }
        for name in ("min_lesion_ml", "min_liver_contact"):
            if (least := getattr(self, name)) is not None:
                plain[name] = real_number(name, least)
        for name in ("tta", "postprocessing", "search", "interpolation", "strict"):
            plain[name] = flag(name, getattr(self, name))
        for name in ("keep_largest_liver", "drop_lesions_outside_liver"):
            if (value := getattr(self, name)) is not None:
                plain[name] = flag(name, value)
        for name, value in plain.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def applied(self, metadata: ModelMetadata, with_probability: bool = False) -> "Applied":
        """What applies to a scan with this model.

        Args:
            metadata: of the model.
            with_probability: probabilities are asked for, so that every slice is needed.

        Raises:
            OptionsError: a class that this model does not have, a threshold outside 0 to 1, a
                negative volume.
        """
        self._check(metadata)
        given = {field.name: getattr(self, field.name) for field in fields(Postprocessing)}
        own = metadata.postprocessing if self.postprocessing else Postprocessing()
        leaves_out = not with_probability
        return Applied(
            thresholds=self.thresholds,
            tta=self.tta,
            postprocessing=replace(own, **{k: v for k, v in given.items() if v is not None}),
            search_mm=metadata.search_mm if self.search and leaves_out else 0.0,
            interpolation_mm=metadata.interpolation_mm
            if self.interpolation and leaves_out
            else 0.0,
            strict=self.strict,
        )

    def _check(self, metadata: ModelMetadata) -> None:
        if unknown := sorted(set(self.thresholds) - set(metadata.classes)):
            raise OptionsError(f"no class {', '.join(unknown)}: the model has {metadata.classes}")
        for name, threshold in self.thresholds.items():
            if not 0 < threshold <= 1:
                raise OptionsError(
                    f"threshold {threshold} of {name}: expected more than 0, at most 1"
                )
        if self.min_lesion_ml is not None and self.min_lesion_ml < 0:
            raise OptionsError(f"min_lesion_ml {self.min_lesion_ml}: expected 0 or more")
        if self.min_liver_contact is not None and not 0 <= self.min_liver_contact <= 1:
            raise OptionsError(f"min_liver_contact {self.min_liver_contact}: expected 0 to 1")
        wants_liver = self.keep_largest_liver or self.drop_lesions_outside_liver
        if (wants_liver or self.min_liver_contact) and "liver" not in metadata.classes:
            raise OptionsError(
                f"clean-up by the liver needs a model with that class: it has {metadata.classes}"
            )


@dataclass(frozen=True)
class Applied:
    """What applies to one scan: a caller's options, completed by the model."""

    thresholds: Mapping[str, float]
    """By class, in place of the model's."""
    tta: bool
    postprocessing: Postprocessing
    search_mm: float
    """How far apart slices are looked at first; 0: all are looked at."""
    interpolation_mm: float
    """How far apart slices are between which labels are interpolated; 0: none are."""
    strict: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values at one level, as records hold them."""
        found = asdict(self)
        return {**found.pop("postprocessing"), **found, "thresholds": dict(self.thresholds)}


def check_mask_kind(mask_kind: object) -> None:
    """Make sure that a mask can hold this.

    Raises:
        ArgumentError: no string.
        OptionsError: none of `MASK_KINDS`.
    """
    known = ", ".join(MASK_KINDS)
    if not isinstance(mask_kind, str):
        raise ArgumentError(f"mask: {described(mask_kind)}, expected one of {known}")
    if mask_kind not in MASK_KINDS:
        raise OptionsError(f"mask {mask_kind!r}: expected one of {known}")


def mask_of(labels: "NDArray[np.uint8]", mask_kind: str) -> "NDArray[np.uint8]":
    """What a mask of one of `MASK_KINDS` holds, uint8 of the shape of the labels."""
    return labels if mask_kind == "labels" else MASKS[mask_kind](labels).astype("uint8")
