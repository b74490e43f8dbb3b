"""Makes a file for the eye of a finished job, once."""

from pathlib import Path
from typing import Any, cast

from lits_runtime.files.atomic import NewFiles
from lits_runtime.volumes.nifti.writer import write_hu
from lits_runtime.volumes.open import open_source


def make_shown(scan: Path, mask: Path, mask_kind: str, shown: Path) -> None:
    """Make a picture of the masks if the name ends in .png, else the scan as NIfTI.

    Args:
        scan: file or folder that was segmented.
        mask: its mask.
        mask_kind: what the mask holds, one of `segment.options.MASK_KINDS`.
        shown: file to make; one that exists is kept.

    Raises:
        VolumeError: the scan cannot be read any more.
        OSError: the disk is full, or the job was removed.
    """
    if shown.exists():
        return
    with NewFiles() as new:
        file = new.open(shown)
        if shown.suffix == ".png":
            from lits_runtime.server.shown.overlay import draw_overlay

            draw_overlay(scan, mask, mask_kind).save(cast(Any, file), "PNG")
        else:
            write_hu(file, open_source(scan))
        new.close()
        new.take_names()
