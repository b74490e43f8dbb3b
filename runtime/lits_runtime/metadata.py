"""What a model file says of itself: the JSON object under the ONNX metadata key "lits"."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from lits_runtime.errors import ModelError

METADATA_KEY = "lits"
FORMAT_VERSION = 1
ORIENTATION = "LPS"
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
        except ValueError as error:
            raise ModelError(f"the model's metadata is not JSON: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("format_version"), int):
            raise ModelError(
                "the model's metadata has no format version; export it with lits-export"
            )
        if content["format_version"] > FORMAT_VERSION:
            raise ModelError(
                f"the model has format {content['format_version']}, this runtime reads up to "
                f"{FORMAT_VERSION}: pip install --upgrade lits-toolkit"
            )
        missing = sorted({field.name for field in fields(cls)} - content.keys())
        if missing:
            raise ModelError(f"the model's metadata lacks {', '.join(missing)}: damaged file")
        known = {field.name: content[field.name] for field in fields(cls)}
        for key in ("classes", "label_values", "thresholds"):
            known[key] = tuple(known[key])
        metadata = cls(**known)
        if metadata.orientation != ORIENTATION:
            raise ModelError(
                f"the model's orientation is {metadata.orientation}, not {ORIENTATION}"
            )
        if not len(metadata.classes) == len(metadata.label_values) == len(metadata.thresholds):
            raise ModelError("the model's classes, label values and thresholds differ in number")
        return metadata
