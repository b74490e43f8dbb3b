"""The labels of one scan, held in memory."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.arguments import file_path
from lits_runtime.files.output_rule import Inputs
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.measure.lesions import Lesion
from lits_runtime.measure.report import Report
from lits_runtime.records.result_files import check_results
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.open import save_labels
from lits_runtime.volumes.source import Content, VolumeSource


@dataclass(frozen=True)
class Segmentation:
    """The labels of one scan, on the scan's own grid."""

    labels: NDArray[np.uint8]
    """(i, j, k) in the scan's stored axis order: 0 background, 1 liver, 2 lesion."""
    geometry: Geometry
    report: Report
    source: VolumeSource
    """Of the scan, whose header a saved mask takes."""
    probability: dict[str, NDArray[np.uint8]] | None = None
    """By class, (i, j, k), in 255ths; None unless asked for."""
    origins: tuple[Path, ...] = ()
    """Files that scan and model were read from."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel-to-world of `labels`, mm, RAS+: the scan's."""
        return self.geometry.affine

    @property
    def volumes_ml(self) -> dict[str, float]:
        """By class of the model; the liver includes its lesions."""
        return self.report.volumes_ml

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """Largest first."""
        return self.report.lesions

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the figures."""
        return self.report.warnings

    @property
    def provider(self) -> str:
        """What the model ran on."""
        return self.report.provider

    @property
    def model_sha256(self) -> str:
        """Of the model file."""
        return self.report.model_sha256

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the mask as .nii or .nii.gz with the scan's header; whole or not at all.

        A file that exists is replaced if a batch's record identifies it as ours, or with `force`;
        scan and model never are.

        Raises:
            OutputError: a name with another ending, or an existing file must not be replaced.
        """
        target = file_path("mask", path)
        inputs = Inputs("the scan or the model that it was made from", self.origins)
        check_results([target], inputs, force=force)
        content = Content({name: LABEL_VALUES[name] for name in self.volumes_ml})
        save_labels(target, self.labels, self.source, content)
