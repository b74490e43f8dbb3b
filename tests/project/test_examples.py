"""The page of examples does what it says."""

import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from support.dicom.ct import save, slices_of
from support.dicom.labelled_series import liver_with_lesions
from support.files.scans import LPS_AFFINE, random_hu
from support.networks.tiny_models import tiny_model
from support.paths import ROOT

PAGE = ROOT / "docs/embedding.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_the_examples_that_embedding_needs() -> None:
    assert len(BLOCKS) == 9
    for title in ("In a service", "Processes", "A batch", "In a notebook"):
        assert f"## {title}" in PAGE.read_text()


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(tiny_model())
    nib.save(nib.Nifti1Image(random_hu((12, 11, 6)), LPS_AFFINE), "scan.nii.gz")
    save(slices_of(np.array([-900, 55, 150])[liver_with_lesions()]), Path("study"))
    Path("archive").mkdir()
    shutil.copy("scan.nii.gz", "archive/a.nii.gz")
    names: dict[str, Any] = {}
    exec(code, names)
    assert list(Path().rglob("*mask.nii.gz"))
    if "answer" in names:
        assert names["answer"]["status"] == 200
    if "record" in names:
        assert Path("out/a_mask.json").exists()
