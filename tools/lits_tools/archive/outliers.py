"""The scans of an archive that stand out, and a picture of each."""

import base64
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lits_runtime.errors import LitsError
from lits_runtime.labels import liver_mask
from lits_runtime.stores.uri import is_uri, name_of
from lits_runtime.volumes.label_volume import read_labels
from lits_runtime.volumes.names import is_dicom_name, is_written
from lits_runtime.volumes.scan import Scan
from lits_tools.view.display import LESION_COLOUR, LIVER_COLOUR, WINDOW_HU

LEAST = 8
"""Scans from which on some can stand out."""
SHOWN = 12
_BY = {
    "liver_ml": "liver {:.0f} ml",
    "lesion_ml": "lesions {:.0f} ml",
    "burden_percent": "burden {:.0f} %",
    "lesion_count": "{:.0f} lesions",
    "seconds": "{:.1f} s",
    "scan_mb": "{:.0f} MB",
}
_FAR = 3.5
"""Robust standard scores beyond which a value stands out (Iglewicz and Hoaglin, 1993)."""
_LEAST_SCALE = 0.1
_INCH, _DPI = 2.6, 75


@dataclass(frozen=True)
class Outlier:
    """A scan that stands out."""

    id: str
    why: tuple[str, ...]
    score: float
    files: tuple[str, ...]


def outliers(table: pa.Table) -> list[Outlier]:
    """The scans with the values farthest from the others', on a logarithmic scale, farthest first.

    Those with no liver at all come first.
    """
    done = [row for row in table.to_pylist() if row["state"] == "done"]
    reasons: dict[int, list[str]] = {}
    scores = np.zeros(len(done))
    for name, text in _BY.items():
        for place, score in enumerate(_scores([row[name] for row in done])):
            if abs(score) > _FAR:
                reasons.setdefault(place, []).append(text.format(done[place][name]))
                scores[place] = max(scores[place], abs(score))
    for place, row in enumerate(done):
        if row["liver_ml"] == 0:
            reasons[place] = ["no liver"]
            scores[place] = np.inf
    order = sorted(reasons, key=lambda place: (-scores[place], done[place]["id"]))
    return [
        Outlier(done[i]["id"], tuple(reasons[i]), float(scores[i]), tuple(done[i]["files"]))
        for i in order
    ]


def _scores(values: list[Any]) -> NDArray[np.float64]:
    """Modified z-scores of logarithms; 0 for values that are missing."""
    known = np.array([np.nan if value is None else value for value in values], np.float64)
    if np.isfinite(known).sum() < LEAST:
        return np.zeros(len(known))
    logs = np.log1p(known)
    middle = np.nanmedian(logs)
    scale = max(1.4826 * float(np.nanmedian(np.abs(logs - middle))), _LEAST_SCALE)
    scores: NDArray[np.float64] = np.nan_to_num((logs - middle) / scale)
    return scores


def thumbnail(outlier: Outlier, scans: Mapping[str, str]) -> str | None:
    """A PNG as a data URI: the slice with the most liver, on the CT where that is at hand.

    Args:
        outlier: whose mask is read.
        scans: paths or URIs of scans by id.
    """
    mask = next((name for name in outlier.files if is_written(name)), None)
    mask = mask or next((name for name in outlier.files if is_dicom_name(name)), None)
    if mask is None:
        return None
    with tempfile.TemporaryDirectory(prefix="lits-report-") as folder:
        try:
            labels = read_labels(_local(mask, Path(folder, "mask")))
        except (LitsError, OSError, ValueError):
            return None
        canonical = labels.labels
        area = liver_mask(canonical).sum(axis=(1, 2))
        best = int(area.argmax())
        hu = None
        try:
            if outlier.id in scans:
                scan = Scan.open(_local(scans[outlier.id], Path(folder, "scan")))
                if scan.geometry.canonical_shape == canonical.shape:
                    scan.load()
                    hu = np.asarray(scan.read_slab(best, best + 1))[0]
        except (LitsError, OSError, ValueError):  # the mask alone is better than nothing
            hu = None
        return _png(canonical[best], hu, labels.geometry.canonical_spacing_mm)


def _local(name: str, folder: Path) -> Path:
    """A file here, fetched if it is in a store."""
    if not is_uri(name):
        return Path(name)
    from lits_runtime.stores.objects import Stored, fetch, look

    path = folder / name_of(name)
    fetch(name, path, look(name) or Stored(None, ""))
    return path


def _png(
    labels: NDArray[np.uint8], hu: NDArray[Any] | None, spacing_mm: tuple[float, float, float]
) -> str:
    height, width = labels.shape
    aspect = spacing_mm[1] / spacing_mm[2]
    figure = Figure((_INCH, _INCH * min(2.0, height * aspect / width)), facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    low, high = WINDOW_HU
    shown = np.full(labels.shape, low) if hu is None else hu
    axes.imshow(shown, "gray", vmin=low, vmax=high, aspect=aspect)
    for value, colour in ((1, LIVER_COLOUR), (2, LESION_COLOUR)):
        if (labels >= value).any() and min(labels.shape) > 1:
            axes.contour(labels >= value, levels=[0.5], colors=[colour], linewidths=1.2)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, facecolor="black")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
