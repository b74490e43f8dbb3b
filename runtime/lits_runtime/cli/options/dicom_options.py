"""Options of lits-infer for DICOM series, and the table of --list-series."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.command import section
from lits_runtime.errors import VolumeError
from lits_runtime.records.result_files import FORMATS
from lits_runtime.volumes.dicom_objects.facts import LESION_CODES, SEG_TYPES

_option = section("DICOM")
_OPTIONS = (
    _option(
        "--series",
        metavar="UID|NUMBER",
        help="Take this series only.  [default: all in folders, the most fitting in other SCANs]",
    ),
    _option("--list-series", is_flag=True, help="Print a table of the series in SCAN, and stop."),
    _option(
        "--fill-missing",
        is_flag=True,
        help="Interpolate up to three missing slices in a row, with a warning.",
    ),
    _option(
        "--format",
        "formats",
        multiple=True,
        type=click.Choice(list(FORMATS)),
        help="What to write of a series; may be repeated.  [default: seg, sr]",
    ),
    _option(
        "--seg-type",
        type=click.Choice(SEG_TYPES),
        default=SEG_TYPES[0],
        show_default=True,
        help="Form of the SEG; label maps are smaller, and unknown to older viewers.",
    ),
    _option(
        "--lesion-code",
        type=click.Choice(LESION_CODES),
        default=LESION_CODES[0],
        show_default=True,
        help="Which concept stands for a lesion.",
    ),
    _option(
        "--segment-per-lesion", is_flag=True, help="One segment for each lesion, not one for all."
    ),
)


def dicom_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options under the heading "DICOM"."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def print_series(paths: Sequence[Path | str], *, fill_missing: bool, as_json: bool) -> None:
    """Print the DICOM series in what is given, as a table or one JSON object a line.

    Raises:
        VolumeError: there is none, or the [dicom] extra is not installed.
        OSError: a path is missing, or may not be read.
    """
    from lits_runtime.volumes.open import find_dicom

    found = find_dicom([Path(path) for path in paths], fill_missing=fill_missing)
    if not found.series and not found.refused:
        raise VolumeError(f"no CT series among {found.files} files")
    from lits_runtime.volumes.dicom.table import rows, table

    if as_json:
        for row in rows(found):
            click.echo(json.dumps(row))
    else:
        click.echo(table(found))
