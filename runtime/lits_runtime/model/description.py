"""What a model file says about itself, for people and machines; needs neither torch nor onnx."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lits_runtime.arguments import file_path
from lits_runtime.messages import printable
from lits_runtime.model.checked_file import ModelFile, check, read_content
from lits_runtime.model.metadata import ModelMetadata, Postprocessing

_WEIGHTS = ("float32", "float16", "int8")
"""Types of weights; the other tensors are shapes, indices and label values."""
_IN_TABLE = ("classes", "provider", "version", "others")
"""What the table of engines says of a parity report."""


@dataclass(frozen=True)
class Description:
    """A checked model file and its path."""

    path: Path
    file: ModelFile

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        file = self.file
        values = {
            name: [asdict(value) for value in group]
            for name, group in (("inputs", file.inputs), ("outputs", file.outputs))
        }
        return {
            "path": str(self.path),
            "size_bytes": file.size,
            "sha256": file.sha256,
            "ir_version": file.ir_version,
            "producer": file.producer,
            "opsets": file.opsets,
            **values,
            "operators": file.operators,
            "weights": self._weights(),
            "metadata": asdict(file.metadata),
        }

    def text(self) -> str:
        """Everything, as lines for a terminal, with control characters escaped."""
        file, metadata = self.file, self.file.metadata
        sections: dict[str, Mapping[str, object]] = {
            f"{self.path}": self._summary(),
            "Inputs and outputs": {
                "input": "; ".join(map(str, file.inputs)),
                **{f"output {value.name}": value for value in file.outputs},
            },
            "Parity with the trained network": _flat(
                {key: value for key, value in metadata.parity.items() if key not in _IN_TABLE}
            ),
            "Training": _flat(metadata.training),
            f"Settings of the recipe {metadata.recipe}": _flat(metadata.settings),
        }
        lines: list[str] = []
        for title, entries in sections.items():
            lines.append(title)
            if title.startswith("Parity"):
                lines += [f"  {line}" for line in table(metadata.parity)]
            lines += [f"  {name:24} {value}" for name, value in entries.items()]
        lines += ["Licence", f"  {metadata.licence}", "Intended use", f"  {metadata.intended_use}"]
        return "\n".join(printable(line).rstrip() for line in lines)

    def _summary(self) -> dict[str, object]:
        file, metadata = self.file, self.file.metadata
        weights = ", ".join(f"{count} {name}" for name, count in self._weights().items())
        opsets = ", ".join(f"{name or 'opset'} {version}" for name, version in file.opsets.items())
        return {
            "size": f"{file.size / 1e6:.2f} MB",
            "SHA-256": file.sha256,
            "precision": f"{metadata.precision} (weights: {weights or 'none'})",
            "recipe": f"{metadata.recipe}, at {metadata.working_size} x {metadata.working_size}",
            "classes": _classes(metadata),
            "context slices": f"{metadata.context_slices} on either side",
            "post-processing": _postprocessing(metadata.postprocessing),
            "liver search": _every(metadata.search_mm),
            "interpolation": _every(metadata.interpolation_mm),
            "orientation": metadata.orientation,
            "ONNX": f"IR {file.ir_version}, {opsets}, by {file.producer}",
            "nodes": sum(file.operators.values()),
            "metadata format": metadata.format_version,
            "checkpoint SHA-256": metadata.checkpoint_sha256,
        }

    def _weights(self) -> dict[str, int]:
        """Elements by type."""
        counts: Counter[str] = Counter()
        for tensor in self.file.tensors:
            if tensor.type in _WEIGHTS:
                counts[tensor.type] += tensor.elements
        return dict(counts.most_common())


def _every(distance_mm: float) -> str:
    return f"every {distance_mm:g} mm" if distance_mm else "none"


def describe(path: str | PathLike[str]) -> Description:
    """Read and check a model file, without running it.

    Raises:
        ModelError: not a model of lits-export, damaged, or refused.
    """
    path = file_path("model", path)
    return Description(path, check(read_content(path)))


def table(parity: Mapping[str, Any]) -> list[str]:
    """The figures of each engine in which the file was compared, one row per class.

    >>> figures = {"liver": {"dice": 0.99995, "changed_voxels": 3}}
    >>> for line in table({"provider": "cpu", "version": "onnxruntime 1.24", "classes": figures}):
    ...     print(line)
    engine                  class  dice     changed_voxels
    cpu (onnxruntime 1.24)  liver  0.99995  3
    """
    others = parity.get("others")
    rows = [
        (_engine(report), name, figures)
        for report in [parity, *(others if isinstance(others, list) else [])]
        if isinstance(report, dict) and isinstance(report.get("classes"), dict)
        for name, figures in report["classes"].items()
        if isinstance(figures, dict)
    ]
    columns = list(dict.fromkeys(key for *_, figures in rows for key in figures))
    cells = [["engine", "class", *columns]] if rows else []
    cells += [
        [engine, name, *(_figure(figures.get(key, "")) for key in columns)]
        for engine, name, figures in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _engine(report: Mapping[str, Any]) -> str:
    name, version = (_figure(report.get(key, "")) for key in ("provider", "version"))
    return f"{name} ({version})" if version else name


def _classes(metadata: ModelMetadata) -> str:
    facts = zip(metadata.classes, metadata.label_values, metadata.thresholds, strict=True)
    return ", ".join(f"{name} (label {value}, from {at:g})" for name, value, at in facts)


def _postprocessing(steps: Postprocessing) -> str:
    """The steps that are on.

    >>> _postprocessing(Postprocessing(keep_largest_liver=True, min_lesion_ml=0.05))
    'largest liver only, lesions from 0.05 ml'
    """
    found = ["largest liver only"] if steps.keep_largest_liver else []
    found += ["no lesions outside the liver"] if steps.drop_lesions_outside_liver else []
    found += [f"lesions from {steps.min_lesion_ml:g} ml"] if steps.min_lesion_ml else []
    contact = f"lesions of which at least {steps.min_liver_contact:.0%} border liver"
    found += [contact] if steps.min_liver_contact else []
    return ", ".join(found) or "none"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested objects as one level of "outer.inner", lists as text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            entries = value if isinstance(value, list) else [value]
            flat[name] = ", ".join(map(_figure, entries)) or "none"
    return flat


def _figure(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
