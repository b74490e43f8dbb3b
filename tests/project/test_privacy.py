"""Nothing leaves the machine: no network, no file but the outputs, whatever ONNX Runtime does."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nibabel as nib
import pytest

from support.files.scans import LPS_AFFINE, random_hu
from support.networks.tiny_models import tiny_model
from support.paths import ROOT

DOOR = "lits_runtime/session/providers.py"
INHERITS = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
NETWORK = re.compile(r"\b(socket|connect|sendto|sendmsg|bind)\(.*AF_INET|sa_family=AF_INET")
WRITES = re.compile(r'open(?:at|at2)?\([^"]*"([^"]+)".*\b(?:O_WRONLY|O_RDWR|O_CREAT)\b')
WAYS = {
    "a script": """
from lits_runtime import Segmenter
with Segmenter.open("model.onnx", provider="cpu") as segmenter:
    segmenter.segment_file("scan.nii.gz", "mask.nii.gz")
""",
    "lits-infer": """
import sys; sys.argv[1:] = "scan.nii.gz -m model.onnx -o mask.nii.gz --provider cpu -q".split()
from lits_runtime.cli.entry_points import infer
infer()
""",
    "a child process": """
import subprocess, sys
import lits_runtime
program = '''
import onnxruntime
onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
'''
subprocess.run([sys.executable, "-c", program], check=True)
open("mask.nii.gz", "w").close()
""",
    "a fork": """
import os
from lits_runtime import Segmenter
segmenter = Segmenter.open("model.onnx", provider="cpu", threads=2)
segmenter.segment("scan.nii.gz")
if not os.fork():
    segmenter.segment_file("scan.nii.gz", "mask.nii.gz")
    os._exit(0)
assert os.wait()[1] == 0
""",
}


def onnxruntime_version() -> tuple[int, ...]:
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return tuple(map(int, version(name).split(".")[:2]))
        except PackageNotFoundError:
            continue
    raise AssertionError("no onnxruntime")


def in_empty_home(
    program: str, folder: Path, environment: Mapping[str, str] | None = None, trace: bool = False
) -> list[str]:
    """Run a program without CI in its environment; gives what strace saw."""
    (folder / "home").mkdir()
    (folder / "model.onnx").write_bytes(tiny_model())
    nib.save(nib.Nifti1Image(random_hu((12, 11, 6)), LPS_AFFINE), folder / "scan.nii.gz")
    kept = {name: os.environ[name] for name in INHERITS if name in os.environ}
    home = str(folder / "home")
    paths = os.pathsep.join(str(ROOT / name) for name in ("runtime", "train", "export", "tools"))
    places = {"HOME": home, "USERPROFILE": home, "LOCALAPPDATA": home, "PYTHONPATH": paths}
    tracer = ["strace", "-f", "-qq", "-e", "trace=network,open,openat", "-o", "trace.txt"]
    done = subprocess.run(
        [*(tracer if trace else ()), sys.executable, "-B", "-c", program],
        cwd=folder,
        env={**kept, **places, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "mask.nii.gz").exists()
    return (folder / "trace.txt").read_text().splitlines() if trace else []


def left_at_home(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "home").rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("program", WAYS.values(), ids=WAYS)
def test_nothing_is_left_at_home(program: str, tmp_path: Path) -> None:
    in_empty_home(program, tmp_path)
    assert left_at_home(tmp_path) == []


def test_a_user_s_own_setting_is_kept_and_this_test_would_see_telemetry(tmp_path: Path) -> None:
    in_empty_home(WAYS["a script"], tmp_path, {"ORT_DISABLE_TELEMETRY": "0"})
    sends = sys.platform == "linux" and onnxruntime_version() >= (1, 29)
    assert bool(left_at_home(tmp_path)) == sends


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace")
def test_no_system_call_reaches_the_network_or_writes_beside_the_outputs(tmp_path: Path) -> None:
    trace = in_empty_home(WAYS["a script"], tmp_path, trace=True)
    assert any("mask" in line or "partial" in line for line in trace if WRITES.search(line))
    assert [line for line in trace if NETWORK.search(line)] == []
    written = {match[1] for line in trace if (match := WRITES.search(line)) and "= -1" not in line}
    strangers = {
        path
        for path in written
        if (tmp_path / path).parent != tmp_path and not path.startswith(("/dev/", "/proc/self/"))
    }
    assert strangers == set()


def onnxruntime_imports(source: str) -> bool:
    tree = ast.parse(source)
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ] + [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(name.partition(".")[0] == "onnxruntime" for name in names)


def test_onnxruntime_is_imported_through_one_door() -> None:
    """Its calibration, which only export has, is behind a package that loads the runtime first."""
    found = {
        path.relative_to(ROOT / folder).as_posix()
        for folder in ("runtime", "train", "export", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if onnxruntime_imports(path.read_text())
    }
    assert found == {DOOR, "lits_export/lowering/int8.py"}


@pytest.mark.parametrize("package", ["lits_runtime", "lits_train", "lits_export", "lits_tools"])
def test_every_package_switches_it_off_before_anything_else(package: str) -> None:
    program = f"import os, {package}; print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "1\n"
