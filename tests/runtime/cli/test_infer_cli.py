import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime.cli.infer import main
from lits_runtime.session.providers import why_not
from support.files.scans import LPS_AFFINE, load_nifti, random_hu


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(random_hu((8, 7, 6)), LPS_AFFINE), path)
    return path


def test_mask_is_written_beside_the_scan_and_volumes_are_told(
    scan: Path, tiny_model_path: Path
) -> None:
    result = CliRunner().invoke(main, [str(scan), "-m", str(tiny_model_path)])
    assert result.exit_code == 0, result.output
    mask = load_nifti(scan.with_name("scan_mask.nii.gz"))
    assert mask.shape == (8, 7, 6)
    assert set(np.unique(mask.dataobj)) == {0, 1, 2}


def test_an_existing_mask_needs_force(scan: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii"
    mask.write_text("precious")
    arguments = [str(scan), "-m", str(tiny_model_path), "-o", str(mask)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--force" in result.output
    assert mask.read_text() == "precious"
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0
    assert load_nifti(mask).shape == (8, 7, 6)


def test_usage_errors(scan: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(scan), "-o", str(tmp_path / "mask.png")], ".nii or .nii.gz"),
        ([str(scan), "-o", str(scan), "-f"], "overwrite the scan"),
        ([str(scan), "--provider", "abacus"], "abacus"),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, arguments
        assert message in result.output


def test_a_damaged_scan_is_one_line_and_leaves_nothing(
    scan: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    scan.write_bytes(scan.read_bytes()[:300])
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(main, [str(scan), "-m", str(tiny_model_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "scan.nii.gz" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def at_a_terminal(arguments: list[str]) -> str:
    """What lits-infer prints at a terminal of 100 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-c", "from lits_runtime.cli.infer import main; main()", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while piece := terminal.read(4096):  # an OSError when the process has let go of it
            said += piece
    assert process.wait() == 0, said
    return said.decode()


@pytest.mark.slow
def test_a_bar_at_a_terminal_unless_quiet(scan: Path, tiny_model_path: Path) -> None:
    arguments = [str(scan), "-m", str(tiny_model_path), "--force"]
    said = at_a_terminal(arguments)
    assert "1/1 scan.nii.gz: 100%" in said
    assert "6/6" in said
    assert said.count("scan_mask.nii.gz: liver") == 1
    assert at_a_terminal([*arguments, "--quiet"]) == ""


def test_debug_shows_the_traceback(scan: Path, tiny_model_path: Path) -> None:
    scan.write_bytes(b"")
    result = CliRunner().invoke(main, [str(scan), "-m", str(tiny_model_path), "--debug"])
    assert result.exit_code == 1
    assert result.exception is not None
    assert "VolumeError" in type(result.exception).__name__


@pytest.mark.skipif(why_not("cuda") is None, reason="CUDA really loads here")
def test_cuda_is_refused_where_it_does_not_load(scan: Path, tiny_model_path: Path) -> None:
    result = CliRunner().invoke(main, [str(scan), "-m", str(tiny_model_path), "--provider", "cuda"])
    assert result.exit_code == 1
    assert "provider cuda is not available" in result.stderr
    assert "lits-toolkit[cuda]" in result.stderr
    assert result.stdout == ""
