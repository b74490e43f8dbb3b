"""The DICOM objects of a segmented series, written once its labels are complete."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import CancelledError, VolumeError
from lits_runtime.files.atomic import NewFile, NewFiles
from lits_runtime.measure.lesions import Lesion
from lits_runtime.measure.report import Report
from lits_runtime.messages import brief
from lits_runtime.segment.callbacks import Cancel, is_cancelled
from lits_runtime.system.extras import DISTRIBUTION
from lits_runtime.system.versions import version
from lits_runtime.volumes.dicom_objects.facts import MANUFACTURER, Algorithm, ObjectOptions
from lits_runtime.volumes.scan import Scan

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

_LONGEST_NAME = 64
"""Of the algorithm: what DICOM allows."""


@dataclass(frozen=True)
class Figures:
    """What objects say of a report: nothing that differs from run to run, as seconds do."""

    volumes_ml: Mapping[str, float]
    tumour_burden_percent: float | None
    lesions: tuple[Lesion, ...]
    lesion_count: int
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, report: Report) -> "Figures":
        """Those of a report."""
        return cls(
            report.volumes_ml,
            report.tumour_burden_percent,
            report.lesions,
            report.lesion_count,
            report.warnings,
        )


def algorithm_of(recipe: str, model_sha256: str) -> Algorithm:
    """What the objects name as their maker: the model by its recipe, and our version."""
    name = f"{MANUFACTURER} {brief(recipe)}".strip()[:_LONGEST_NAME]
    return Algorithm(name, version(DISTRIBUTION) or "unknown", model_sha256)


def series_of(scan: Scan) -> "Series":
    """The DICOM series behind a scan.

    Raises:
        VolumeError: there is none.
    """
    series: Series | None = getattr(scan.source, "series", None)
    if series is None:
        raise VolumeError(
            f"{scan.name}: not a DICOM series, to which DICOM objects refer; write a mask as "
            "NIfTI, or in Python Segmentation.save_seg(path, series)"
        )
    return series


def write_objects(
    objects: Mapping[str, Path],
    options: ObjectOptions,
    scan: Scan,
    labels: NDArray[np.uint8],
    report: Report,
    algorithm: Algorithm,
    new: NewFiles,
    cancel: Cancel | None = None,
) -> None:
    """Write the objects of a series; no SEG and no RT structure set if nothing is labelled.

    Args:
        objects: by format, where to; for "sc" a folder.
        options: of the objects.
        scan: the series.
        labels: (i, j, k).
        report: of the labels.
        algorithm: that made them.
        new: gives the files.
        cancel: asked before each object whether to stop.

    Raises:
        VolumeError: the series has changed.
        CancelledError: `cancel` asked to stop.
    """
    series, figures = series_of(scan), Figures.of(report)
    made = _made(objects, options, scan, series, labels, figures, algorithm)
    with closing(made):
        for path, dataset in made:
            if is_cancelled(cancel):
                raise CancelledError(f"{scan.name}: cancelled, nothing written")
            _write(new.open(path), dataset)


def _write(file: NewFile, dataset: Any) -> None:
    from lits_runtime.volumes.dicom_objects.identity import write_object

    write_object(file, dataset)
    file.close()  # of hundreds of pictures each would hold two descriptors otherwise


def _made(
    objects: Mapping[str, Path],
    options: ObjectOptions,
    scan: Scan,
    series: "Series",
    labels: NDArray[np.uint8],
    figures: Figures,
    algorithm: Algorithm,
) -> Generator[tuple[Path, Any], None, None]:
    """Each object as it is made, a pydicom data set, and its file."""
    if {"seg", "sr"} & objects.keys():
        from lits_runtime.volumes.dicom_objects.report import make_sr
        from lits_runtime.volumes.dicom_objects.seg import make_seg

        seg = make_seg(series, labels.T, algorithm, options)
        if "seg" in objects and seg is not None:
            yield objects["seg"], seg
        if "sr" in objects:
            yield objects["sr"], make_sr(series, labels.T, seg, figures, algorithm, options)
        del seg
    if "rtstruct" in objects:
        from lits_runtime.volumes.dicom_objects.rtstruct import make_rtstruct

        structures = make_rtstruct(series, labels.T, algorithm, options)
        if structures is not None:
            yield objects["rtstruct"], structures
    if "sc" in objects:
        from lits_runtime.volumes.dicom_objects.capture import make_sc

        with closing(_SlicesInOrder(scan)) as read_hu:
            pictures = make_sc(series, labels.T, read_hu, figures, algorithm, options)
            for number, picture in enumerate(pictures, 1):
                yield objects["sc"] / f"{number:04d}.dcm", picture


class _SlicesInOrder:
    """Reads canonical slices one by one, from feet to head, in one more pass over the scan."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._slabs = scan.slabs(1)

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        """Slice `start`, (1, height, width); `stop` is the next."""
        slab = next(slab for slab in self._slabs if slab.start == start)
        return self._scan.slab_hu(slab)

    def close(self) -> None:
        """Leave the pass."""
        self._slabs.close()
