"""The figures of an archive: distributions over its scans."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pyarrow import compute

from lits_tools.report.panels import one_panel
from lits_tools.view.display import LESION_COLOUR, LIVER_ON_WHITE

_BINS = 40
_GREY = "#888888"


def archive_figures(table: pa.Table) -> list[Figure]:
    """Volumes, burden, lesions, time and size of the scans that are done."""
    done = table.filter(compute.equal(table["state"], "done"))
    if not done.num_rows:
        return []
    drawings: list[Callable[[Axes], None]] = [
        partial(_histogram, values=_column(done, name), title=title, unit=unit, colour=colour)
        for name, title, unit, colour in (
            ("liver_ml", "Liver volume", "ml", LIVER_ON_WHITE),
            ("burden_percent", "Tumour burden", "% of the liver", LESION_COLOUR),
            ("lesion_count", "Lesions in a scan", "lesions", LESION_COLOUR),
        )
    ]
    drawings.append(partial(_lesion_sizes, table=done))
    drawings.append(partial(_seconds, table=done))
    drawings.append(
        partial(_histogram, values=_column(done, "scan_mb"), title="Size", unit="MB", colour=_GREY)
    )
    return [one_panel(draw) for draw in drawings]


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    values = np.array(table[name].to_pylist(), np.float64)
    return values[np.isfinite(values)]


def _histogram(axes: Axes, values: NDArray[np.float64], title: str, unit: str, colour: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(unit)
    axes.set_ylabel("scans")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not len(values):
        return
    whole = bool((values == np.rint(values)).all()) and np.ptp(values) < _BINS
    edges = np.arange(values.min() - 0.5, values.max() + 1)
    bins = min(_BINS, 2 + 2 * int(len(values) ** 0.5))
    axes.hist(values, [*edges] if whole else bins, color=colour, alpha=0.85)
    low, middle, high = np.percentile(values, [5, 50, 95])
    axes.axvline(middle, color="black", linewidth=1)
    text = f"median {middle:,.4g}, 5 to 95 %: {low:,.4g} to {high:,.4g}"
    axes.set_title(f"{title}\n{text}", fontsize=10)


def _lesion_sizes(axes: Axes, table: pa.Table) -> None:
    axes.set_title("Lesion size", fontsize=11)
    axes.set_xlabel("longest axial diameter, mm")
    axes.set_ylabel("lesions")
    sizes = [
        lesion["longest_axial_diameter_mm"]
        for lesions in table["lesions"].to_pylist()
        for lesion in lesions or ()
        if lesion["longest_axial_diameter_mm"]
    ]
    if sizes:
        edges = np.geomspace(min(sizes) * 0.999, max(sizes) * 1.001, _BINS)
        axes.hist(sizes, [*edges], color=LESION_COLOUR, alpha=0.85)
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()


def _seconds(axes: Axes, table: pa.Table) -> None:
    axes.set_title("Time", fontsize=11)
    rows = zip(table["slices"].to_pylist(), table["seconds"].to_pylist(), strict=True)
    known = np.array([row for row in rows if None not in row], np.float64).reshape(-1, 2)
    axes.plot(known[:, 0], known[:, 1], ".", color=_GREY, alpha=0.6)
    axes.set_xlabel("axial slices")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
