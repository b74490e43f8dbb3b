"""The import rule of the design, read from the source, and a runtime without torch."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import OURS, ROOT

BASE = {"cc3d", "click", "isal", "nibabel", "numpy", "onnxruntime", "tqdm"}
SERVE = {
    "fastapi",
    "prometheus_client",
    "pydantic",
    "pynetdicom",
    "python_multipart",
    "starlette",
    "uvicorn",
}
TRAIN = {"safetensors", "torch", "torchvision"}
ALLOWED = {
    "lits_runtime": BASE
    | SERVE
    | {"aiohttp", "fsspec", "highdicom", "PIL", "pyarrow", "pydicom", "ray"},
    "lits_train": BASE | TRAIN | {"lits_runtime", "kagglehub", "matplotlib", "requests", "rich"},
    "lits_export": BASE | TRAIN | {"lits_runtime", "lits_train", "matplotlib", "onnx", "openvino"},
    "lits_tools": BASE
    | TRAIN
    | {*OURS, "edt", "filelock", "matplotlib", "PIL", "pyarrow", "pydicom", "rich", "scipy"},
}

LABORATORY = {"lits_tools.bundled", "lits_tools.bundled.folds"}
"""Not in the wheel: the trainings behind the bundled model need a checkout and the public data."""


def imported_packages(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", OURS)
def test_imports_point_one_way(package: str) -> None:
    allowed = ALLOWED[package] | {package} | set(sys.stdlib_module_names)
    sources = sorted(OURS[package].rglob("*.py"))
    assert sources
    for source in sources:
        assert imported_packages(source) <= allowed, source


def test_every_package_of_the_tree_is_listed_for_the_wheel() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {
        ".".join(path.parent.relative_to(folder.parent).parts)
        for folder in OURS.values()
        for path in folder.rglob("*.py")
    }
    listed = setup["options"]["packages"].split()
    assert listed == sorted(listed)
    assert set(listed) == packages - LABORATORY


def test_runtime_works_where_torch_cannot_be_imported(tiny_model_path: Path) -> None:
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = ("torch", "torchvision", "onnx", "matplotlib", "lits_train", "lits_export")
        if name.partition(".")[0] in refused:
            raise ImportError(f"{{name}} is not for the runtime")
sys.meta_path.insert(0, Refuse())
import numpy as np
from lits_runtime import Segmenter
result = Segmenter.open({str(tiny_model_path)!r}).segment((np.full((8, 9, 3), 70), np.eye(4)))
assert (result.labels == 1).all() and result.labels.shape == (8, 9, 3)
print(sorted(m for m in sys.modules if m.partition(".")[0] in ("torch", "onnx")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_import_of_the_runtime_is_lazy() -> None:
    heavy = {"numpy", "nibabel", "onnxruntime", "cc3d", "click", "tqdm"}
    program = f"import sys, lits_runtime; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_are_complete() -> None:
    import lits_runtime

    for name in lits_runtime.__all__:
        assert getattr(lits_runtime, name).__module__.startswith("lits_runtime"), name
    assert lits_runtime.__all__ == sorted(lits_runtime.__all__)
    errors = {name for name in vars(lits_runtime.errors) if name.endswith("Error")}
    assert errors <= set(lits_runtime.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lits_runtime.no_such_name
