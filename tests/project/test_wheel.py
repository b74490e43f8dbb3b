"""What a user installs: the wheel, alone, in an environment without torch."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from lits_runtime.model.bundled import bundled_model
from lits_runtime.phantom.ct import make_phantom, write_phantom
from support.files.scans import load_nifti
from support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves traces beside setup.cfg
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    for name in ("setup.cfg", "pyproject.toml", "runtime", "train", "export", "tools"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_the_model(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT / folder).as_posix()
        for folder in ("runtime", "train", "export", "tools")
        for pattern in (
            "*.py",
            "py.typed",
            "*.onnx",
            "*.md",
            "*.html",
            "*.css",
            "*.js",
            "*.gz",
            "*.json",
        )
        for path in (ROOT / folder).glob(f"lits_*/**/{pattern}")
    }
    # The trainings behind the bundled model need a checkout and the public data.
    laboratory = {path for path in sources if path.startswith("lits_tools/bundled/")}
    assert "lits_runtime/model/bundled.onnx" in sources
    assert sources - laboratory <= packed
    assert laboratory and not [name for name in packed if name.startswith("lits_tools/bundled/")]
    assert not [name for name in packed if "test" in name]


def test_wheel_runs_without_torch(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = str(home / "bin/python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    installed = run(python, "-m", "pip", "install", "--quiet", f"{wheel}[cpu]")
    assert installed.returncode == 0, installed.stderr
    for absent in ("torch", "onnx", "matplotlib"):
        assert run(python, "-c", f"import {absent}").returncode == 1
    volume, _ = write_phantom(tmp_path, 5, make_phantom(5, matrix=128, slices=8, lesions=2))
    infer = str(home / "bin/lits-infer")
    done = run(infer, str(volume), "-o", "mask.nii.gz", "--provider", "cpu")
    assert done.returncode == 0, done.stderr
    assert "liver" in done.stderr
    mask = load_nifti(tmp_path / "mask.nii.gz")
    assert mask.shape == (128, 128, 8)
    assert mask.get_fdata().any()
    made = run(str(home / "bin/lits-data"), "phantom", "data", "--matrix", "32", "--slices", "2")
    assert made.returncode == 0, made.stderr
    for command, extra in (
        (["lits-train", "data", "-o", "run"], "train"),
        (["lits-export", "mask.nii.gz"], "export"),
        (["lits-view", str(volume), "--mask", "mask.nii.gz", "-o", "f.png"], "tools"),
    ):
        missing = run(str(home / "bin" / command[0]), *command[1:])
        assert missing.returncode == 1
        assert f"pip install 'lits-toolkit[{extra}]'" in missing.stderr
        assert missing.stderr.count("\n") == 1
    export = str(home / "bin/lits-export")
    inspected = run(export, "inspect", "--json", str(bundled_model()))
    assert inspected.returncode == 0, inspected.stderr
    assert json.loads(inspected.stdout)["metadata"]["classes"] == ["liver", "lesion"]
    refused = run(infer, str(volume), "-o", "gpu.nii.gz", "--provider", "cuda")
    assert refused.returncode == 1
    assert "lits-toolkit[cuda]" in refused.stderr
    assert not (tmp_path / "gpu.nii.gz").exists()
