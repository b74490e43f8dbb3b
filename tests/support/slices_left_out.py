"""What labels are by definition where the model does not see all slices, and scans to see it on."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lits_runtime import Options, Segmenter
from lits_runtime.segment.slabs.inference import SlabResult
from lits_runtime.segment.slabs.interpolation import labels_between
from lits_runtime.segment.slabs.liver_search import searched, slices_within
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.networks.tiny_models import positional_model, tiny_model

ALL_SLICES = Options(search=False, interpolation=False)


def affine_of(slice_mm: float, pixel_mm: float = 6.0) -> NDArray[np.float64]:
    """LPS, slightly sheared; three pixels are a square centimetre."""
    return np.array(
        [
            [-pixel_mm, 0, 0.0, 100],
            [0, -pixel_mm, 0.02, 90],
            [0, 0.02, slice_mm, -40],
            [0, 0, 0, 1],
        ]
    )


def blobs(slices: int, seed: int, share: float = 0.02) -> NDArray[np.int16]:
    """Few blobs of 40 to 160 HU, (12, 11, slices), in air."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(12, 11, slices)), (1.5, 1.5, 1.0))
    inside = smooth > np.quantile(smooth, 1 - share)
    hu: NDArray[np.int16] = np.where(inside, rng.integers(40, 160, smooth.shape), -900)
    return hu.astype(np.int16)


def open_model(
    search_mm: float = 0.0, interpolation_mm: float = 0.0, context_slices: int = 0, **more: Any
) -> Segmenter:
    """A model that allows to leave slices out."""
    make = positional_model if context_slices else tiny_model
    metadata = {"search_mm": search_mm, "interpolation_mm": interpolation_mm, **more}
    return Segmenter.open(make(metadata), provider="cpu", threads=2)


def seen_slices(geometry: Geometry, interpolation_mm: float) -> list[int]:
    """Those that the model sees, without a search."""
    slices = geometry.canonical_shape[0]
    return sorted({*range(0, slices, slices_within(geometry, interpolation_mm)), slices - 1})


def definition(segmenter: Segmenter, volume: NDArray[Any], affine: Any) -> NDArray[np.uint8]:
    """Labels (i, j, k) by the probabilities of all slices."""
    facts, scan = segmenter.metadata, Scan.open((volume, affine))
    geometry, context = scan.geometry, facts.context_slices
    slab_hu = scan.read_slab(0, geometry.canonical_shape[0], context)
    labels, probability = segmenter.labels(slab_hu), segmenter.probability(slab_hu)
    for low, high in pairwise(seen_slices(geometry, facts.interpolation_mm)):
        first, last = (SlabResult(labels[[at]], probability[[at]]) for at in (low, high))
        labels[low + 1 : high] = labels_between(
            first, last, high - low - 1, facts.thresholds, facts.label_values
        )
    stride = slices_within(geometry, facts.interpolation_mm)
    stored: NDArray[np.uint8] = geometry.from_canonical(
        searched(labels, geometry, facts.search_mm, stride)
    )
    return stored
