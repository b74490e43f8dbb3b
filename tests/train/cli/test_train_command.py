from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_train.cli.train import main
from lits_train.settings.run import REPORT_NAME


@pytest.mark.slow
def test_command_skips_bad_cases_and_ends_by_listing_them(
    phantom_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in phantom_folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    broken = data / "volume-1.nii"
    broken.write_bytes(broken.read_bytes()[:5000])
    arguments = [str(data), "-o", str(tmp_path / "run"), "--recipe", "baseline", "--epochs", "1"]
    arguments += ["--size", "32", "--weights", "none", "--device", "cpu", "--bf16"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1].startswith("skipped case 1: ")
    assert "truncated" in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert "resumed in epoch" not in (tmp_path / "run" / REPORT_NAME).read_text("utf-8")


def test_usage_and_data_errors_of_the_command(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "-o", str(tmp_path / "run"), "--weights", "none"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no pair" in result.stderr
    result = CliRunner().invoke(main, [*arguments, "--size", "100"])
    assert result.exit_code == 2
    assert "multiple of 32" in result.stderr


def test_help_groups_all_options() -> None:
    lines = CliRunner().invoke(main, ["--help"]).stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Recipe:", "Validation:", "Device:", "Output:", "Options:", "Commands:"]
    names = {name for option in main.params for name in option.opts if name.startswith("--")}
    assert names <= {word.strip(",") for line in lines for word in line.split()}
