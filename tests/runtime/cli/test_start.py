"""How commands start: a signal at any import ends them, and what is missing or broken is named."""

import ast
import os
import random
import re
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lits_runtime.system.extras import DISTRIBUTION, distribution_of, explain_import, extras_of
from support.commands import COMMANDS, CONFIG
from support.paths import OURS

CONSOLE_SCRIPT = (
    "import sys; sys.argv[0] = 'lits-infer'; "
    "from lits_runtime.cli.entry_points import infer; infer()"
)
MOMENTS = int(os.environ.get("LITS_SIGNAL_ROUNDS", "4"))


def start(command: str, *arguments: str, python: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """A command as its console script runs it."""
    module, _, function = COMMANDS[command].partition(":")
    program = f"import sys; from {module} import {function} as f; sys.argv[0] = {command!r}; f()"
    return subprocess.Popen(
        [sys.executable, *python, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def interrupted(process: "subprocess.Popen[str]", imports: int, number: int) -> list[str]:
    """Signal after so many imports that follow the launcher's, and give what was said."""
    seen, said = -1, []
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if not line.startswith("import time:"):
                said.append(line)
                continue
            if seen >= 0 or line.rstrip().endswith(".entry_points"):
                seen += 1
            if seen == imports:
                process.send_signal(number)
                seen += 1
    return said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("command", ["lits-infer", "lits-eval"])
def test_a_signal_at_any_import_is_one_line_and_its_exit_status(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    # Slices enough that it would still be at work after its last import.
    image = nib.Nifti1Image(np.zeros((128, 128, 300), np.int16), np.eye(4))
    nib.save(image, tmp_path / "scan.nii")
    scan = str(tmp_path / "scan.nii")
    arguments = {
        "lits-infer": (scan, "-o", str(tmp_path / "out.nii.gz"), "--provider", "cpu"),
        "lits-eval": (scan, scan),
    }[command]
    draw = random.Random(number)
    for _ in range(MOMENTS):
        moment = int(2 + 300 * draw.random() ** 2)  # its own imports come first
        process = start(command, *arguments, python=("-X", "importtime"))
        said = interrupted(process, moment, number)
        assert process.returncode == 128 + number, (moment, said)
        # A batch that has begun says in another line how far it came.
        assert len(said) <= 1, "".join(said)
        assert {path.name for path in tmp_path.iterdir()} == {"scan.nii"}


def test_a_signal_while_it_works_is_one_line_too(tmp_path: Path) -> None:
    program = """
    import click, sys, time
    from pathlib import Path
    from lits_runtime.files.atomic import atomic_path
    from lits_runtime.cli.command import Command

    @click.command(cls=Command)
    def main():
        with atomic_path(Path("made.txt")) as path:
            path.write_text("half")
            print("begun", flush=True)
            time.sleep(60)
    """
    (tmp_path / "sleeper.py").write_text(textwrap.dedent(program))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from lits_runtime.system.launch import launch; launch('sleeper', 's')",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        )
        with process:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0]
            assert process.stdout.readline() == "begun\n"
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert said == ("interrupted\n" if number == signal.SIGINT else "")
        assert {path.name for path in tmp_path.iterdir()} <= {"sleeper.py", "__pycache__"}


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """As nohup and a shell's & have it."""
    (tmp_path / "counter.py").write_text("import os, signal\nos.kill(os.getpid(), 2)\nmain = int\n")
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "from lits_runtime.system.launch import launch; launch('counter', 'c')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def test_every_entry_point_is_launched() -> None:
    for command, place in COMMANDS.items():
        module, _, function = place.partition(":")
        package, _, name = module.partition(".")
        source = ast.parse((OURS[package] / f"{name.replace('.', '/')}.py").read_text())
        (body,) = [n for n in source.body if isinstance(n, ast.FunctionDef) and n.name == function]
        assert f"launch('{package}." in ast.unparse(body)
        assert f"'{command}'" in ast.unparse(body)


def third_party() -> set[tuple[str, str]]:
    """(package of ours, module it imports)."""
    found = set()
    for package, folder in OURS.items():
        for source in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                found |= {(package, name.partition(".")[0]) for name in names}
    standard = set(sys.stdlib_module_names) | set(OURS) | {""}
    return {(package, module) for package, module in found if module not in standard}


def test_every_import_is_asked_for_by_the_base_or_an_extra() -> None:
    declared = {
        re.split(r"[\[><=]", line)[0].strip().lower().replace("_", "-")
        for part in (
            CONFIG["options"]["install_requires"],
            *(v for extra, v in CONFIG["options.extras_require"].items() if extra != "dev"),
        )
        for line in part.split("\n")
    }
    modules = third_party()
    assert {"torch", "PIL", "cc3d", "onnxruntime", "scipy"} <= {module for _, module in modules}
    for package, module in modules:
        assert distribution_of(module) in declared, (package, module)


@pytest.mark.parametrize(
    ("module", "package", "wanted"),
    [
        ("scipy", "lits_tools", "'lits-toolkit[tools]'"),
        ("edt", "lits_tools", "'lits-toolkit[tools]'"),
        ("PIL", "lits_tools", "'lits-toolkit[tools]'"),
        ("rich", "lits_train", "'lits-toolkit[train]'"),
        ("rich", "lits_tools", "'lits-toolkit[tools]'"),
        ("torch", "lits_tools", "'lits-toolkit[train]'"),
        ("torch", "lits_export", "'lits-toolkit[export]'"),
        ("matplotlib", "lits_export", "'lits-toolkit[export]'"),
        ("kagglehub", "lits_train", "'lits-toolkit[download]'"),
        ("sympy", "lits_train", "'lits-toolkit[train]'"),
        ("numpy", "lits_tools", "lits-toolkit"),
        ("onnxruntime", "lits_export", "'lits-toolkit[cpu]' or 'lits-toolkit[cuda]'"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(module: str, package: str, wanted: str) -> None:
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)
    said = explain_import(error, "lits-any", package)
    assert said == f"lits-any needs {module}, which is not installed: pip install {wanted}"


def test_a_package_that_lacks_a_part_is_not_called_missing() -> None:
    error = ModuleNotFoundError("No module named 'scipy.part'", name="scipy.part")
    said = explain_import(error, "lits-eval", "lits_tools")
    assert said == (
        "lits-eval needs scipy, which does not load (No module named 'scipy.part'): "
        "pip install --force-reinstall 'lits-toolkit[tools]'"
    )


def test_without_metadata_the_command_s_own_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lits_runtime.system.extras.DISTRIBUTION", "no-such-distribution")
    assert DISTRIBUTION == "lits-toolkit"
    assert extras_of("scipy", "lits_tools") == ("tools",)


BROKEN = {
    "an empty folder": (None, "no InferenceSession"),
    "a module without a session": ("version = 1", "no InferenceSession"),
    "a library that does not load": (
        "raise ImportError('libonnxruntime.so.1: cannot open shared object file')",
        "libonnxruntime.so.1",
    ),
    "DLL load failed": ("raise ImportError('DLL load failed while importing x')", "DLL load"),
    "an OSError": ("raise OSError('libcudart.so.13: cannot open shared object file')", "libcudart"),
    "a missing part": ("import onnxruntime.capi.nothing", "does not load"),
    "numpy of another ABI": ("raise ValueError('numpy.dtype size changed')", "size changed"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("content", "word"), BROKEN.values(), ids=BROKEN)
def test_a_broken_onnxruntime_is_one_line(content: str | None, word: str, tmp_path: Path) -> None:
    """`pip uninstall` of one of onnxruntime and onnxruntime-gpu empties the folder of the other."""
    (tmp_path / "onnxruntime/capi").mkdir(parents=True)
    if content is None:
        hide = "sys.meta_path.insert(0, Hide()); "
    else:
        hide = ""
        (tmp_path / "onnxruntime/__init__.py").write_text(content)
    program = f"""
import sys, types
sys.path.insert(0, {str(tmp_path)!r})
from importlib.machinery import ModuleSpec
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [{str(tmp_path / "onnxruntime")!r}]
            return spec
{hide}
from lits_runtime.system.launch import launch
launch(sys.argv.pop(1), "lits-any")
"""
    scan = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), scan)
    for module, arguments in (
        ("lits_runtime.cli.infer", [str(scan), "-o", str(tmp_path / "m.nii")]),
        ("lits_runtime.cli.doctor", []),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, module, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr + done.stdout
        said = done.stderr if "doctor" not in module else done.stdout
        assert word in said
        assert "pip uninstall onnxruntime onnxruntime-gpu" in said
        if "doctor" not in module:
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("raises", "word"),
    [
        ("OSError('libcudnn.so.9: cannot open shared object file')", "libcudnn.so.9"),
        ("ImportError('libtorch_cpu.so: undefined symbol')", "undefined symbol"),
        ("RuntimeError('module compiled against ABI 1')", "compiled against"),
    ],
)
def test_a_package_that_does_not_load_is_one_line(raises: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("import torch.inner")
    (tmp_path / "torch/inner.py").write_text(f"raise {raises}")
    (tmp_path / "data").mkdir()
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from lits_train.cli.entry_points import train; train()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data"), "-o", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "torch, which does not load" in done.stderr
    assert word in done.stderr
    assert "--force-reinstall 'lits-toolkit[train]'" in done.stderr


def test_a_command_starts_without_what_it_does_not_need() -> None:
    """Its help comes without numpy; seconds of imports would."""
    process = start("lits-infer", "--help", python=("-X", "importtime"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    heavy = ("numpy", "nibabel", "onnxruntime", "importlib.metadata", "tqdm")
    assert not [name for name in heavy if f" {name}\n" in said]


def completed(words: str) -> list[str]:
    """What a shell is offered for the last of these words."""
    environment = {"_LITS_INFER_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    process = subprocess.run(
        [sys.executable, "-c", CONSOLE_SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.split()


def test_a_shell_completes_options_and_their_values() -> None:
    assert completed("lits-infer --prov") == ["plain,--provider"]
    assert completed("lits-infer --provider cu") == ["plain,cuda"]


def test_the_package_runs_as_a_module_with_options_under_headings() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lits_runtime", "--help"], capture_output=True, text=True, check=True
    )
    assert process.stdout.startswith("Usage: python -m lits_runtime [OPTIONS] [SCAN]...\n")
    headings = re.findall(r"^(\S.*):$", process.stdout, re.MULTILINE)
    assert headings == [
        "Scans", "DICOM", "Outputs", "Model", "Post-processing", "Hardware", "Engine",
        "Options",
    ]  # fmt: skip
