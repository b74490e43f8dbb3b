"""The labels of one scan, held in memory."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lits_runtime.arguments import file_path
from lits_runtime.errors import VolumeError
from lits_runtime.files.atomic import NewFiles
from lits_runtime.files.output_rule import Inputs, check_target
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.measure.lesions import Lesion
from lits_runtime.measure.report import Report
from lits_runtime.records.result_files import check_endings, check_results
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.open import save_labels
from lits_runtime.volumes.source import Content, VolumeSource

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series
    from lits_runtime.volumes.dicom_objects.facts import ObjectOptions


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
    recipe: str = ""
    """Of the model."""

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
        check_endings([target])
        check_results([target], inputs, force=force)
        content = Content({name: LABEL_VALUES[name] for name in self.volumes_ml})
        save_labels(target, self.labels, self.source, content)

    def save_seg(
        self,
        path: str | PathLike[str],
        series: "Series",
        options: "ObjectOptions | None" = None,
        *,
        force: bool = False,
    ) -> None:
        """Write the labels as a DICOM Segmentation of a series, whole or not at all.

        Args:
            path: of the new file; an existing one is replaced with `force` alone.
            series: of `volumes.dicom.find.find_series`; the scan may be its NIfTI conversion.
            options: type, codes and segments; the usual ones by default.
            force: replace an existing file.

        Raises:
            OutputError: an existing file must not be replaced.
            VolumeError: the scan's voxels are not those of the series, or nothing is labelled.
        """
        from lits_runtime.segment.series_objects import algorithm_of
        from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
        from lits_runtime.volumes.dicom_objects.identity import write_object
        from lits_runtime.volumes.dicom_objects.read_seg import on_grid
        from lits_runtime.volumes.dicom_objects.seg import make_seg

        target = file_path("segmentation", path)
        inputs = Inputs("the scan or the model that it was made from", self.origins + series.files)
        check_target(target, inputs, force=force)
        labels = on_grid(self.labels, self.geometry, series.geometry, self.source.name)
        algorithm = algorithm_of(self.recipe, self.model_sha256)
        made = make_seg(series, labels.T, algorithm, options or ObjectOptions())
        if made is None:
            raise VolumeError(
                f"{self.source.name}: nothing is labelled, so there is no SEG to write"
            )
        with NewFiles() as new:
            write_object(new.open(target), made)
            new.close()
            new.take_names()
