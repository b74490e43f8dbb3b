from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import VolumeError
from lits_runtime.volume import Scan
from lits_tools.view import chosen_slices, overlay_sheet
from lits_tools.view_cli import main


def test_sheet_shows_scan_and_mask(phantom_folder: Path, tmp_path: Path) -> None:
    figure = tmp_path / "overlay.png"
    arguments = [
        str(phantom_folder / "volume-0.nii.gz"),
        *("--mask", str(phantom_folder / "segmentation-0.nii.gz"), "-o", str(figure)),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    pixels = matplotlib.image.imread(figure)[..., :3]
    grey = np.ptp(pixels, axis=-1) < 0.02
    half = len(pixels) // 2
    assert grey[:half].mean() > 0.9, "the upper row is the plain scan"
    assert (~grey[half:]).mean() > 0.01, "the lower row is coloured by the mask"
    assert CliRunner().invoke(main, arguments).exit_code == 2
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0


def test_slices_step_through_the_liver_and_hold_the_largest_lesion() -> None:
    labels = np.zeros((40, 8, 8), np.uint8)
    labels[10:31] = 1
    assert chosen_slices(labels, 3) == [15, 20, 25]
    labels[17, :4, :4] = 2
    assert chosen_slices(labels, 3) == [17, 20, 25]
    assert chosen_slices(np.zeros((9, 4, 4), np.uint8), 1) == [4]


def test_other_grids_and_names_are_refused(phantom_folder: Path, tmp_path: Path) -> None:
    scan = Scan.open(phantom_folder / "volume-0.nii.gz")
    with pytest.raises(VolumeError, match="not the same grid"):
        overlay_sheet(scan, Scan.open((np.zeros((4, 4, 4), np.int16), np.eye(4))))
    arguments = [str(phantom_folder / "volume-0.nii.gz"), "-o", str(tmp_path / "figure.txt")]
    mask = str(phantom_folder / "segmentation-0.nii.gz")
    assert CliRunner().invoke(main, [*arguments, "--mask", mask]).exit_code == 2
