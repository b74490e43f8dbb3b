"""Both notebooks from beginning to end on phantoms, as they lie in the repository."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support.networks.tiny_models import tiny_model
from support.paths import ROOT

NOTEBOOKS = ROOT / "tools" / "notebooks"
NAMES = ("Training_Notebook", "Inference_Visualization_Notebook")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def read(name: str) -> Any:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]


def execute(name: str, folder: Path, settings: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook in `folder` with settings added to its own."""
    notebook = read(name)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1
    tagged[0].source += "\n" + settings
    packages = [str(ROOT / part) for part in ("runtime", "train", "export", "tools")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(packages))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    monkeypatch.setenv("HOME", str(folder))  # without a Kaggle token
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources
    ).execute()


def pictures(notebook: Any) -> int:
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stripped(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def text(notebook: Any) -> str:
    """All that a notebook printed or displayed as text."""
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return "\n".join(
        output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        for output in outputs
    )


@pytest.mark.slow
def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = 'EPOCHS, MORE_EPOCHS, SIZE, WEIGHTS = 1, 1, 64, "none"\n'
    settings += "PHANTOMS, MATRIX, SLICES = 3, 64, 8"
    notebook = execute(NAMES[0], tmp_path, settings, monkeypatch)
    assert pictures(notebook) == 4, "a case, the curves twice, validation slices"
    assert "PHANTOMS. The model will know nothing about patients." in text(notebook)
    run = tmp_path / "run"
    assert (run / "model.onnx").stat().st_size > 1e6
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_model())
    settings = 'MODEL = "model.onnx"\nMATRIX, SLICES = 96, 12'
    notebook = execute(NAMES[1], tmp_path, settings, monkeypatch)
    assert pictures(notebook) == 5
    assert "No DATA: a PHANTOM" in text(notebook)
    written = {path.name for path in (tmp_path / "masks").iterdir()}
    assert written == {"segmentation-0.nii.gz", "overview.png", "viewer.html", "slices.gif"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PROJECT, else the clone around the notebook or beside it, else the latest wheel."""
    (cell,) = [c.source for c in read(name).cells if "def package()" in c.source]
    code = cell[: cell.index("gpu = ")]

    def package(project: str, folder: Path) -> Any:
        monkeypatch.chdir(folder)
        scope: dict[str, Any] = {"PROJECT": project}
        exec(code, scope)
        return scope["package"]()

    clone = tmp_path / "lits-toolkit"
    notebooks = clone / "tools" / "notebooks"
    notebooks.mkdir(parents=True)
    with pytest.raises(SystemExit, match="upload one, or set PROJECT"):
        package("", tmp_path)
    wheels = [tmp_path / f"lits_toolkit-0.{n}.0-py3-none-any.whl" for n in (2, 3)]
    for wheel in wheels:
        wheel.touch()
    assert package("", tmp_path) == wheels[1]
    (clone / "runtime" / "lits_runtime").mkdir(parents=True)
    assert package("", notebooks) == package("", tmp_path) == clone
    assert package("name", notebooks) == "name"
