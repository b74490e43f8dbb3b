"""The other commands keep the runtime's rule for outputs."""

import csv
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_export.cli.export import main as export_main
from lits_export.triton import write_repository
from lits_runtime import OutputError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_tools.cli.eval import main as eval_main
from lits_tools.cli.view import main as view_main
from lits_train.data.cases import find_cases
from lits_train.prepared.convert import prepare
from support.batches import FOREIGN, contents


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return write_phantom(tmp_path, 0, make_phantom(0, matrix=32, slices=4, lesions=1))


def test_files_that_exist_need_force_and_inputs_are_never_overwritten(
    case: tuple[Path, Path], tiny_model_path: Path
) -> None:
    volume, mask = case
    folder = volume.parent
    for name in ("a.html", "a.csv", "a.png", "a.onnx"):
        (folder / name).write_bytes(FOREIGN)
    (folder / "link.csv").hardlink_to(mask)
    (folder / "link.png").hardlink_to(volume)
    (folder / "link.onnx").hardlink_to(tiny_model_path)
    view = (view_main, [volume, "--mask", mask])
    score = (eval_main, [mask, mask])
    model = shutil.copy(tiny_model_path, folder / "x.pth")
    before = contents(folder)
    for (command, arguments), output, message in (
        (view, ["-o", "a.png"], "--force"),
        (view, ["-o", "a.html"], "--force"),
        (view, ["-o", "link.png", "--force"], "overwrite the scan"),
        (view, ["-o", "none/there/../../a.png"], "--force"),
        (score, ["-o", "a.csv"], "--force"),
        (score, ["-o", "b.csv", "-o", "B.csv"], "are the same file"),
        (score, ["-o", "link.csv", "--force"], "overwrite a file to score"),
        ((export_main, [model]), ["-o", "a.onnx"], "--force"),
        ((export_main, [model]), ["-o", "x.pth", "--force"], "overwrite the checkpoint"),
        ((export_main, [model]), ["-o", "n.png", "--worst-slice", "n.png"], "are the same file"),
        ((export_main, [model, "--worst-slice", folder / "a.png"]), ["-o", "n.onnx"], "--force"),
    ):
        named = [word if word.startswith("-") else str(folder / word) for word in output]
        result = CliRunner().invoke(command, [*map(str, arguments), *named])
        assert (result.exit_code, message in result.output) == (2, True), result.output
        assert contents(folder) == before


def test_a_repository_does_not_take_the_model_with_it(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    model = tmp_path / "models/tiny/1/tiny.onnx"
    model.parent.mkdir(parents=True)
    shutil.copy(tiny_model_path, model)
    with pytest.raises(OutputError, match="holds the model itself"):
        write_repository(model, tmp_path / "models")
    arguments = ["triton", str(model), str(tmp_path / "models"), "--force"]
    assert CliRunner().invoke(export_main, arguments).exit_code == 2
    assert model.read_bytes() == tiny_model_path.read_bytes()


def test_prepared_arrays_of_others_are_kept(case: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    out.mkdir()
    (out / "hu-0.npy").write_bytes(FOREIGN)
    with pytest.raises(OutputError, match="--force"):
        prepare(find_cases(tmp_path), out, 32)
    assert contents(out) == {"hu-0.npy": FOREIGN}


def test_case_names_are_no_formulas_in_a_table(case: tuple[Path, Path], tmp_path: Path) -> None:
    _, mask = case
    for place in ("pred", "gt"):
        (tmp_path / place).mkdir()
        shutil.copy(mask, tmp_path / place / "=1+1.nii.gz")
    table = tmp_path / "scores.csv"
    folders = [str(tmp_path / "pred"), str(tmp_path / "gt")]
    result = CliRunner().invoke(eval_main, [*folders, "-o", str(table)])
    assert result.exit_code == 0, result.output
    with table.open() as file:
        assert next(csv.DictReader(file))["case"] == "'=1+1"
