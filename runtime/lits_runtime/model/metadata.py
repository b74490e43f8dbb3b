"""What a model file says about itself: the JSON object under the ONNX metadata key "lits"."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from lits_runtime.errors import ModelError
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.messages import brief

METADATA_KEY = "lits"
FORMAT_VERSION = 1
"""Raised when an older runtime would misread a file, which it then refuses; a runtime reads all
older formats. Keys that may safely be ignored are added without a new version: unknown keys are
ignored. Early files of format 1 list the names of cases and check scans."""
ORIENTATION = "LPS"
MAX_CONTEXT_SLICES = 16
MAX_WORKING_SIZE = 4096
MAX_DEPTH = 16
MAX_WORD, MAX_TEXT = 100, 10_000
"""Characters of a name, and of a licence or intended use."""
MAX_DIGITS = 19
MAX_LESION_ML, MAX_DISTANCE_MM = 1000.0, 1000.0
DISCLAIMER = "Demonstration and research; not a medical device, not for clinical use."


@dataclass(frozen=True)
class Postprocessing:
    """What becomes of labels once the whole volume is known; by default nothing."""

    keep_largest_liver: bool = False
    """Keep only the largest connected component of the liver, with the lesions in it."""
    drop_lesions_outside_liver: bool = False
    """Lesions that touch no liver become background."""
    min_lesion_ml: float = 0.0
    """Lesions under this volume become liver."""
    min_liver_contact: float = 0.0
    """Lesions become background of whose surface less than this fraction borders the liver, as that
    of the gallbladder or the stomach does."""

    @property
    def cleans_up(self) -> bool:
        """Whether any labels may change, so that all are needed before one can be written."""
        return self.needs_liver or self.min_lesion_ml > 0

    @property
    def needs_liver(self) -> bool:
        """Whether the liver decides which labels change."""
        flags = self.keep_largest_liver, self.drop_lesions_outside_liver
        return any(flags) or self.min_liver_contact > 0


@dataclass(frozen=True)
class ModelMetadata:
    """Facts of one model file."""

    format_version: int
    recipe: str
    settings: dict[str, Any]
    """All settings of the recipe, as the checkpoint had them."""
    classes: tuple[str, ...]
    """Channels of the output `probability`, in order."""
    label_values: tuple[int, ...]
    """Value of each class in the output `labels`; 0 is background."""
    thresholds: tuple[float, ...]
    """Probability from which a voxel belongs to the class."""
    context_slices: int
    """Neighbours on either side that the slab holds in addition to the slices to segment."""
    orientation: str
    """Where columns, rows and slices of the slab point to: "LPS"."""
    working_size: int
    """Slices are resized to this size inside the model."""
    precision: str
    """"fp32", "fp16-weights", "fp16" or "int8"."""
    opset: int
    training: dict[str, Any]
    """Provenance: software, data fingerprint, cases, epochs, validation scores."""
    parity: dict[str, Any]
    """Numerical parity of this file with the trained network, and on what it was measured."""
    checkpoint_sha256: str
    licence: str
    intended_use: str
    postprocessing: Postprocessing = Postprocessing()
    """Chosen on validation cases, and applied unless the caller decides otherwise."""
    search_mm: float = 0.0
    """How far apart slices may be looked at first, to find those with liver; 0: look at all."""
    interpolation_mm: float = 0.0
    """How far apart slices may be between which labels are interpolated; 0: interpolate none."""

    def to_json(self) -> str:
        """The JSON text to embed; figures that are not finite are null, for JSON has none."""
        return json.dumps(_finite(asdict(self)), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelMetadata":
        """Read and check the embedded text.

        Raises:
            ModelError: not JSON, of a newer format, or keys missing or of the wrong kind.
        """
        try:
            content = _parsed(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model's metadata is not JSON: {brief(error)}") from error
        if not isinstance(content, dict) or not _is(content.get("format_version"), int):
            raise ModelError(
                "the model's metadata has no format version; export it with lits-export"
            )
        if _deeper(content, MAX_DEPTH):
            raise ModelError(f"the model's metadata is nested deeper than {MAX_DEPTH} levels")
        if not 1 <= content["format_version"] <= FORMAT_VERSION:
            raise ModelError(
                f"the model has format {content['format_version']}, this runtime reads up to "
                f"{FORMAT_VERSION}: pip install --upgrade lits-toolkit"
            )
        names = {field.name for field in fields(cls)}
        missing = sorted(names - content.keys() - _OPTIONAL.keys())
        if missing:
            raise ModelError(f"the model's metadata lacks {', '.join(missing)}: damaged file")
        known = {name: value for name, value in (_OPTIONAL | content).items() if name in names}
        wrong = [name for name, kind in _KINDS.items() if not _is(known[name], kind)]
        wrong += [
            name
            for name, kind in _LISTS.items()
            if not _is(known[name], list) or not all(_is(entry, kind) for entry in known[name])
        ]
        if wrong:
            raise ModelError(f"the model's metadata has a wrong {', '.join(wrong)}: damaged file")
        known |= {key: tuple(known[key]) for key in _LISTS}
        known["postprocessing"] = _postprocessing(known["postprocessing"])
        metadata = cls(**known | {name: float(known[name]) for name in _DISTANCES})
        metadata._check()
        return metadata

    def _check(self) -> None:
        if self.orientation != ORIENTATION:
            raise ModelError(
                f"the model's orientation is {brief(self.orientation)}, not {ORIENTATION}"
            )
        if not len(self.classes) == len(self.label_values) == len(self.thresholds):
            raise ModelError("the model's classes, label values and thresholds differ in number")
        for name, value, least, most in (
            ("context slices", self.context_slices, 0, MAX_CONTEXT_SLICES),
            ("working size", self.working_size, 0, MAX_WORKING_SIZE),
            ("search_mm", self.search_mm, 0, MAX_DISTANCE_MM),
            ("interpolation_mm", self.interpolation_mm, 0, MAX_DISTANCE_MM),
            ("min_lesion_ml", self.postprocessing.min_lesion_ml, 0, MAX_LESION_ML),
            ("min_liver_contact", self.postprocessing.min_liver_contact, 0, 1),
            *(("threshold", threshold, 0, 1) for threshold in self.thresholds),
        ):
            if not least <= value <= most or (name == "threshold" and value == 0):
                above = "above 0, at most 1" if name == "threshold" else f"{least} to {most:g}"
                raise ModelError(f"the model's metadata has {name} {value}, expected {above}")
        for name, most in _LONGEST.items():
            if len(getattr(self, name)) > most:
                raise ModelError(f"the model's metadata has a {name} of over {most} characters")
        tta = self.settings.get("tta") or []
        if not isinstance(tta, list) or not all(isinstance(name, str) for name in tta):
            raise ModelError(f"the model's transforms are {brief(tta)}, expected a list of names")
        found = list(zip(self.classes, self.label_values, strict=True))
        if not found or len(set(found)) < len(found) or set(found) - set(LABEL_VALUES.items()):
            raise ModelError(
                f"the model's classes and label values are {brief(found)}, expected some of "
                f"{LABEL_VALUES}"
            )
        if (self.postprocessing.needs_liver or self.search_mm) and "liver" not in self.classes:
            raise ModelError(
                "the model's metadata has post-processing or a search by the liver, and its "
                f"classes are {brief(self.classes)}"
            )


_DISTANCES = ("search_mm", "interpolation_mm")
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("context_slices", "working_size", "opset"), int),
    **dict.fromkeys(("settings", "training", "parity", "postprocessing"), dict),
    **dict.fromkeys(("recipe", "orientation", "precision", "checkpoint_sha256"), str),
    **dict.fromkeys(("licence", "intended_use"), str),
    **dict.fromkeys(_DISTANCES, (int, float)),
}
_OPTIONAL: dict[str, Any] = {"postprocessing": {}, **dict.fromkeys(_DISTANCES, 0.0)}
"""What a file means that lacks these keys, as early ones do."""
_STEPS = ("keep_largest_liver", "drop_lesions_outside_liver")
_LEAST = ("min_lesion_ml", "min_liver_contact")
_LISTS: dict[str, type | tuple[type, ...]] = {
    "classes": str,
    "label_values": int,
    "thresholds": (int, float),
}


_LONGEST = {
    **dict.fromkeys(("recipe", "precision", "checkpoint_sha256"), MAX_WORD),
    **dict.fromkeys(("licence", "intended_use"), MAX_TEXT),
}


def _postprocessing(content: dict[str, Any]) -> Postprocessing:
    """The object under "postprocessing"; steps that it lacks are off, unknown keys are ignored."""
    flags = {name: content.get(name, False) for name in _STEPS}
    least = {name: content.get(name, 0.0) for name in _LEAST}
    wrong = [name for name, value in flags.items() if not isinstance(value, bool)]
    wrong += [name for name, value in least.items() if not _is(value, (int, float))]
    if wrong:
        raise ModelError(f"the model's metadata has a wrong {', '.join(wrong)}: damaged file")
    steps: dict[str, Any] = {**flags, **{name: float(value) for name, value in least.items()}}
    return Postprocessing(**steps)


def _parsed(text: str) -> Any:
    """Strict JSON: one value for each key, numbers of a size that other readers can hold.

    NaN and infinity, which Python writes, are null: older files may hold one as a score that could
    not be computed.
    """
    return json.loads(
        text,
        parse_constant=lambda name: None,
        parse_float=lambda digits: _finite(float(digits)),
        parse_int=_integer,
        object_pairs_hook=_object,
    )


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("one key twice")
    return found


def _finite(value: Any) -> Any:
    """The value with None in place of numbers that are not finite, at every depth."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(entry, levels - 1) for entry in inner)
