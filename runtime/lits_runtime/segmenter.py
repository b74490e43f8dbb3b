"""The runtime's front door: open a model once, segment scans with it."""

import hashlib
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.errors import ModelError
from lits_runtime.mask import mask_image, write_image
from lits_runtime.metadata import METADATA_KEY, ModelMetadata
from lits_runtime.providers import open_session, session_provider
from lits_runtime.volume import Geometry, Scan, ScanSource

LIVER, LESION = 1, 2
BUNDLED_MODEL = "bundled.onnx"


@dataclass(frozen=True)
class Segmentation:
    """The labels of one scan, on the scan's own grid."""

    labels: NDArray[np.uint8]
    """(i, j, k) in the scan's stored axis order: 0 background, 1 liver, 2 lesion."""
    geometry: Geometry
    volumes_ml: dict[str, float]
    """By class of the model; the liver includes its lesions."""
    provider: str
    model_sha256: str
    scan: SpatialImage

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel-to-world of `labels`, mm, RAS+: the scan's."""
        return self.geometry.affine

    def save(self, path: str | PathLike[str]) -> None:
        """Write the mask as .nii or .nii.gz with the scan's header; whole or not at all."""
        write_image(mask_image(self.labels, self.scan), Path(path))


class Segmenter:
    """A model opened on a provider; `segment` may be called from several threads."""

    def __init__(self, session: Any, metadata: ModelMetadata, model_sha256: str) -> None:
        self.session = session
        self.metadata = metadata
        self.model_sha256 = model_sha256
        self.provider = session_provider(session)

    @classmethod
    def open(
        cls,
        model: str | PathLike[str] | bytes | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
    ) -> "Segmenter":
        """Open a model file.

        Args:
            model: path or content of a model written by lits-export; None: the bundled one.
            provider: "auto", "cpu" or "cuda"; what is asked for loads, or it is an error.
            threads: for the CPU; None takes all that this process may use.

        Raises:
            ModelError: not a model of this project, damaged, or of a newer format.
            ProviderError: the provider did not load; the message names what is missing.
            FileNotFoundError: there is no such file.
        """
        content = model if isinstance(model, bytes) else _model_path(model).read_bytes()
        session = open_session(content, provider, threads)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"the model has no metadata {METADATA_KEY!r}: it was not written by lits-export"
            )
        metadata = ModelMetadata.from_json(text)
        _check_signature(session, metadata)
        return cls(session, metadata, hashlib.sha256(content).hexdigest())

    def segment(self, scan: ScanSource, *, batch_size: int = 8) -> Segmentation:
        """Segment one scan.

        Args:
            scan: a path, a nibabel image, or (array (i, j, k) of HU, affine (4, 4)).
            batch_size: axial slices that go through the network at once.

        Raises:
            VolumeError: not a readable 3D CT volume.
        """
        opened = Scan.open(scan).load()
        geometry = opened.geometry
        canonical = np.empty(geometry.canonical_shape, np.uint8)
        for start, labels in self._label_slabs(opened, batch_size):
            canonical[start : start + len(labels)] = labels
        voxels = np.bincount(canonical.ravel(), minlength=3) * geometry.voxel_ml
        volumes_ml = {
            "liver": float(voxels[LIVER] + voxels[LESION]),
            "lesion": float(voxels[LESION]),
        }
        return Segmentation(
            np.asfortranarray(geometry.from_canonical(canonical)),
            geometry,
            {name: volumes_ml[name] for name in self.metadata.classes},
            self.provider,
            self.model_sha256,
            opened.image,
        )

    def segment_file(
        self, scan: str | PathLike[str], mask: str | PathLike[str], *, batch_size: int = 8
    ) -> Segmentation:
        """Segment a scan and write its mask; see `segment` and `Segmentation.save`."""
        segmentation = self.segment(scan, batch_size=batch_size)
        segmentation.save(mask)
        return segmentation

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, classes, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: float32 (n + 2 * context_slices, height, width).
        """
        probability: NDArray[np.float32] = self._run(["probability"], slab_hu)[0]
        return probability

    def labels(self, slab_hu: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Labels, uint8 (n, height, width), of a slab in canonical orientation.

        Args:
            slab_hu: float32 (n + 2 * context_slices, height, width).
        """
        labels: NDArray[np.uint8] = self._run(["labels"], slab_hu)[0]
        return labels

    def _label_slabs(self, scan: Scan, batch_size: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        slices, context = scan.geometry.canonical_shape[0], self.metadata.context_slices
        for start in range(0, slices, batch_size):
            stop = min(start + batch_size, slices)
            slab_hu = scan.read_slab(start, stop, context)
            if self.provider != "cpu" and (short := batch_size - (stop - start)):
                # One shape throughout: cuDNN would tune its convolutions anew for the last slab.
                slab_hu = np.pad(slab_hu, ((0, short), (0, 0), (0, 0)), mode="edge")
            yield start, self.labels(slab_hu)[: stop - start]

    def _run(self, outputs: list[str], slab_hu: NDArray[np.float32]) -> list[Any]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True  # probabilities cost nothing unless asked for
        results: list[Any] = self.session.run(outputs, {"slab": slab_hu}, options)
        return results


def _model_path(model: str | PathLike[str] | None) -> Path:
    if model is not None:
        return Path(fspath(model))
    return Path(str(importlib.resources.files("lits_runtime").joinpath(BUNDLED_MODEL)))


def _check_signature(session: Any, metadata: ModelMetadata) -> None:
    inputs = [(node.name, node.type, len(node.shape)) for node in session.get_inputs()]
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    if inputs != [("slab", "tensor(float)", 3)] or outputs != {
        "labels": ("tensor(uint8)", 3),
        "probability": ("tensor(float)", 4),
    }:
        raise ModelError(f"the model takes {inputs} and gives {outputs}: not the contract's slab")
    if metadata.context_slices < 0:
        raise ModelError(f"the model's metadata asks for {metadata.context_slices} context slices")
