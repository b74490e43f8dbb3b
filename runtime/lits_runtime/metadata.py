"""What a model file says of itself: the JSON object under the ONNX metadata key "lits"."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from lits_runtime.errors import ModelError
from lits_runtime.names import brief

METADATA_KEY = "lits"
FORMAT_VERSION = 1
ORIENTATION = "LPS"
LABEL_VALUES = {"liver": 1, "lesion": 2}
"""LiTS values of the classes that there are."""
MAX_CONTEXT_SLICES = 16
MAX_DEPTH = 16
DISCLAIMER = "Demonstration and research; not a medical device, not for clinical use."


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
    """Neighbours on either side that the input slab must hold beyond the slices to segment."""
    orientation: str
    """Where columns, rows and slices of the slab point: "LPS"."""
    working_size: int
    """Slices are resized to this size inside the model."""
    precision: str
    opset: int
    training: dict[str, Any]
    """Provenance: software, data fingerprint, cases, epochs, validation scores."""
    parity: dict[str, Any]
    """How closely this file was found to say what the trained network says, and on what."""
    checkpoint_sha256: str
    licence: str
    intended_use: str

    def to_json(self) -> str:
        """The JSON text to embed."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelMetadata":
        """Read and check the embedded text.

        Raises:
            ModelError: not JSON, of a newer format, or keys missing or of the wrong kind.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model's metadata is not JSON: {brief(error)}") from error
        if not isinstance(content, dict) or not _is(content.get("format_version"), int):
            raise ModelError(
                "the model's metadata has no format version; export it with lits-export"
            )
        if _deeper(content, MAX_DEPTH):
            raise ModelError(f"the model's metadata is nested deeper than {MAX_DEPTH} levels")
        if content["format_version"] > FORMAT_VERSION:
            raise ModelError(
                f"the model has format {content['format_version']}, this runtime reads up to "
                f"{FORMAT_VERSION}: pip install --upgrade lits-toolkit"
            )
        missing = sorted({field.name for field in fields(cls)} - content.keys())
        if missing:
            raise ModelError(f"the model's metadata lacks {', '.join(missing)}: damaged file")
        known = {field.name: content[field.name] for field in fields(cls)}
        wrong = [name for name, kind in _KINDS.items() if not _is(known[name], kind)]
        wrong += [
            name
            for name, kind in _LISTS.items()
            if not _is(known[name], list) or not all(_is(entry, kind) for entry in known[name])
        ]
        if wrong:
            raise ModelError(f"the model's metadata has a wrong {', '.join(wrong)}: damaged file")
        metadata = cls(**(known | {key: tuple(known[key]) for key in _LISTS}))
        metadata._check()
        return metadata

    def _check(self) -> None:
        if self.orientation != ORIENTATION:
            raise ModelError(
                f"the model's orientation is {brief(self.orientation)}, not {ORIENTATION}"
            )
        if not len(self.classes) == len(self.label_values) == len(self.thresholds):
            raise ModelError("the model's classes, label values and thresholds differ in number")
        if not 0 <= self.context_slices <= MAX_CONTEXT_SLICES:
            raise ModelError(
                f"the model's metadata asks for {self.context_slices} context slices, expected 0 "
                f"to {MAX_CONTEXT_SLICES}"
            )
        found = list(zip(self.classes, self.label_values, strict=True))
        if not found or len(set(found)) < len(found) or set(found) - set(LABEL_VALUES.items()):
            raise ModelError(
                f"the model's classes and label values are {brief(found)}, expected some of "
                f"{LABEL_VALUES}"
            )


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("context_slices", "working_size", "opset"), int),
    **dict.fromkeys(("settings", "training", "parity"), dict),
    **dict.fromkeys(("recipe", "orientation", "precision", "checkpoint_sha256"), str),
    **dict.fromkeys(("licence", "intended_use"), str),
}
_LISTS: dict[str, type | tuple[type, ...]] = {
    "classes": str,
    "label_values": int,
    "thresholds": (int, float),
}


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(entry, levels - 1) for entry in inner)
