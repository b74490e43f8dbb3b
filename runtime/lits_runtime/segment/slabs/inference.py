"""From a slab of HU to labels: by the model alone, or with other thresholds or averaging."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lits_runtime.arguments import described
from lits_runtime.errors import ArgumentError, ModelError, VolumeError
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.segment.options import Applied
from lits_runtime.session.run import run

_FLIPPED_AXIS = {"flip_slices": 0, "flip_rows": 1, "flip_columns": 2}
"""Transforms that can be undone voxel by voxel, and the slab axis that each reverses."""
_ROUNDING = 1e-6
"""The sigmoid of ONNX Runtime is 1.0000001 for some logits near 18."""


@dataclass(frozen=True)
class SlabResult:
    """The model's output for one slab."""

    labels: NDArray[np.uint8]
    """(n, height, width)"""
    probability: NDArray[np.float32] | None
    """(n, classes, height, width), if it was asked for or needed."""
    left_out: bool = False
    """The model did not see the slab: it shows no liver, or its labels are interpolated."""

    @classmethod
    def background(cls, shape: tuple[int, int, int]) -> "SlabResult":
        """The result for a slab (n, height, width) that is left out."""
        return cls(np.zeros(shape, np.uint8), None, left_out=True)


@dataclass(frozen=True)
class Inference:
    """Segments the slabs of one scan with a session."""

    session: Any
    metadata: ModelMetadata
    options: Applied
    with_probability: bool
    sizes: tuple[int, ...] = ()
    """Pad each slab to the least of these numbers of slices that holds it; empty: do not pad."""

    def __call__(self, slab_hu: NDArray[np.float32]) -> SlabResult:
        """Segment float32 (n + 2 * context_slices, height, width)."""
        n = len(slab_hu) - 2 * self.metadata.context_slices
        more = min((size - n for size in self.sizes if size >= n), default=0)
        if more:  # cuDNN tunes its convolutions for each new shape: keep to few
            slab_hu = np.pad(slab_hu, ((0, more), (0, 0), (0, 0)), mode="edge")
        if not (self.options.tta or self.options.thresholds):
            names = ["labels", "probability"] if self.with_probability else ["labels"]
            labels, *rest = self._run(names, slab_hu)
            return SlabResult(labels[:n], rest[0][:n] if rest else None)
        probability = self._probability(slab_hu)[:n]
        labels = labels_from(probability, self.thresholds, self.metadata.label_values)
        return SlabResult(labels, probability)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The probability from which a voxel belongs to a class, by channel."""
        pairs = zip(self.metadata.classes, self.metadata.thresholds, strict=True)
        return tuple(self.options.thresholds.get(name, own) for name, own in pairs)

    def _probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        total: NDArray[np.float32] = self._run(["probability"], slab_hu)[0]
        transforms = transforms_of(self.metadata) if self.options.tta else ()
        for name in transforms:
            axis = _FLIPPED_AXIS[name]
            turned = np.ascontiguousarray(np.flip(slab_hu, axis))
            probability = self._run(["probability"], turned)[0]
            total = total + np.flip(probability, (0, 2, 3)[axis])
        mean: NDArray[np.float32] = total / np.float32(1 + len(transforms))
        return mean

    def _run(self, names: list[str], slab_hu: NDArray[np.float32]) -> list[Any]:
        """Run the session, and check what it returns against the contract."""
        results = run(self.session, names, slab_hu)
        for name, found in zip(names, results, strict=True):
            check_contract(self.metadata, name, found, slab_hu.shape)
            if name == "probability":
                np.minimum(found, 1, out=found)
        return results


def labels_from(
    scores: NDArray[np.floating], least: Sequence[float], label_values: Sequence[int]
) -> NDArray[np.uint8]:
    """Labels (n, ...) of scores (n, classes, ...); later classes win, as in the model.

    Args:
        scores: probabilities, or anything that rises with them.
        least: by class, the score from which a voxel belongs to it.
        label_values: by class.

    >>> labels_from(np.array([[[0.9, 0.9, 0.1], [0.2, 0.5, 0.0]]]), [0.5, 0.5], [1, 2])
    array([[1, 2, 0]], dtype=uint8)
    """
    labels = np.zeros((len(scores), *scores.shape[2:]), np.uint8)
    for channel, (threshold, value) in enumerate(zip(least, label_values, strict=True)):
        labels[scores[:, channel] >= threshold] = value
    return labels


def check_contract(
    metadata: ModelMetadata, output: str, found: NDArray[Any], slab_shape: tuple[int, ...]
) -> None:
    """Check what a model returned for a slab (n + 2 * context_slices, height, width).

    Raises:
        ModelError: a shape other than the contract's, a label that the metadata does not declare,
            or a probability outside 0 to 1.
    """
    shape = (slab_shape[0] - 2 * metadata.context_slices, *slab_shape[1:])
    if output == "probability":
        shape = (shape[0], len(metadata.classes), *shape[1:])
    if found.shape != shape:
        raise ModelError(f"the model returned {output} of shape {found.shape}, expected {shape}")
    if output == "probability":
        least, most = found.min(initial=0), found.max(initial=0)
        if not (least >= 0 and most <= 1 + _ROUNDING):  # NaN is neither
            raise ModelError(
                f"the model returned probabilities from {least:g} to {most:g}, expected 0 to 1"
            )
        return
    largest, declared = int(found.max(initial=0)), metadata.label_values
    missing = set(range(1, max(declared))) - set(declared)
    wrong = [value for value in sorted(missing) if (found == value).any()]
    wrong += [largest] if largest > max(declared) else []
    if wrong:
        raise ModelError(
            f"the model returned label {wrong[0]}, its metadata declares "
            f"{', '.join(map(str, declared))}"
        )


def transforms_of(metadata: ModelMetadata) -> tuple[str, ...]:
    """The transforms to average over: those in the recipe's setting "tta" that have an effect.

    Raises:
        ModelError: the model was trained without any, or with one that this runtime cannot undo.
    """
    trained_with = metadata.settings.get("tta") or ()
    one_by_one = metadata.context_slices == 0  # so that the order of slices has no effect
    names = tuple(name for name in trained_with if not (one_by_one and name == "flip_slices"))
    if not names:
        raise ModelError(
            f"the model (recipe {metadata.recipe!r}) was trained without transforms to average "
            "over: run without --tta"
        )
    if unknown := [name for name in names if name not in _FLIPPED_AXIS]:
        raise ModelError(
            f"the model asks for the transforms {unknown}, this runtime has {list(_FLIPPED_AXIS)}: "
            "pip install --upgrade lits-toolkit, or run without --tta"
        )
    return names


def checked_slab(slab_hu: ArrayLike, context_slices: int) -> NDArray[np.float32]:
    """A caller's slab as the model takes it: float32 (n + 2 * context_slices, height, width).

    Raises:
        ArgumentError: not an array of real numbers.
        VolumeError: an array of another shape, or with values that are not finite.
    """
    try:
        slab = np.asarray(slab_hu)
    except Exception as error:  # numpy calls the object's own methods
        raise ArgumentError(f"slab: {described(slab_hu)}: {error}") from error
    if slab.dtype.kind not in "iuf":
        raise ArgumentError(f"slab: {slab.dtype} of shape {slab.shape}, expected numbers (HU)")
    if slab.ndim != 3 or len(slab) <= 2 * context_slices or not slab.size:
        raise VolumeError(
            f"slab of shape {slab.shape}: expected (n + {2 * context_slices}, height, width)"
        )
    with np.errstate(over="ignore"):  # the check below sees it
        slab = np.ascontiguousarray(slab, np.float32)
    if not np.isfinite([slab.min(), slab.max()]).all():  # both are NaN if one value is
        raise VolumeError(
            "slab with values that are not finite; replace them, for example by -1024"
        )
    return slab
