"""What only Linux has is not needed: the commands run where it is hidden, as on Windows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lits_runtime.phantom.ct import make_phantom, write_phantom
from support.paths import ROOT

PACKAGES = ("runtime/lits_runtime", "train/lits_train", "export/lits_export", "tools/lits_tools")
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OWNERS = {"process.py", "processors.py", "providers.py", "gpu.py", "doctor.py", "atomic.py"}
"""Files that may ask Linux for what only it has, and do without it elsewhere."""

HIDDEN = """
import builtins, io, os, pathlib, runpy, signal, sys

if sys.argv[1].startswith("lits_train"):
    import torch  # before: on Linux it asks for register_at_fork without a look

class Hidden:
    modules = {"fcntl", "grp", "pwd", "resource", "syslog", "termios"}
    def find_spec(self, name, path=None, target=None):
        if name in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in Hidden.modules:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
for name in ("sched_getaffinity", "sched_setaffinity", "register_at_fork", "fork", "forkpty",
             "wait4", "getuid", "geteuid", "mkfifo", "O_NONBLOCK", "killpg"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGALRM"):
    if hasattr(signal, name):
        delattr(signal, name)

plain_open, plain_os_open, plain_stat = io.open, os.open, os.stat

def refuse(path):
    try:
        text = os.fsdecode(path)
    except TypeError:
        return
    # The interpreter's own libraries read there on Linux; our packages must not.
    frame, ours = sys._getframe(2), False
    while frame is not None and not ours:
        ours = "lits_" in frame.f_globals.get("__name__", "")
        frame = frame.f_back if "pathlib" in frame.f_globals.get("__name__", "") else None
    if ours and text.startswith(("/proc", "/sys", "/dev/shm")):
        raise FileNotFoundError(2, "hidden", text)

def hidden_open(path, *arguments, **options):
    refuse(path)
    return plain_open(path, *arguments, **options)

def hidden_stat(path, *arguments, **options):
    refuse(path)
    return plain_stat(path, *arguments, **options)

builtins.open = io.open = hidden_open
os.stat = hidden_stat

module, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
COMMANDS = {
    "lits-infer": "lits_runtime.cli.infer",
    "lits-doctor": "lits_runtime.cli.doctor",
    "lits-data": "lits_train.cli.data",
    "lits-train": "lits_train.cli.train",
    "lits-export": "lits_export.cli.export",
    "lits-eval": "lits_tools.cli.eval",
    "lits-view": "lits_tools.cli.view",
    "benchmark": "lits_tools.benchmark.runtime_cli",
}


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("hidden") / "hidden.py"
    program.write_text(HIDDEN)
    return program


def run(hidden: Path, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    name = command.replace("-", "_") + "_started"
    hidden.with_name(f"{name}.py").write_text(f"from {COMMANDS[command]} import main\nmain()\n")
    words = [sys.executable, hidden, name, *arguments]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_shown_where_what_linux_has_is_hidden(command: str, hidden: Path) -> None:
    done = run(hidden, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_a_scan_is_segmented_where_what_linux_has_is_hidden(
    hidden: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    volume, _ = write_phantom(tmp_path, 1, make_phantom(1, matrix=32, slices=4, lesions=1))
    mask = tmp_path / "mask.nii.gz"
    command = (volume, "-o", mask, "-m", tiny_model_path, "--provider", "cpu")
    done = run(hidden, "lits-infer", *command)
    assert done.returncode == 0, done.stderr
    assert mask.exists()


@pytest.mark.slow
def test_a_network_is_trained_where_what_linux_has_is_hidden(hidden: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_phantom(tmp_path, seed, make_phantom(seed, matrix=32, slices=4, lesions=1))
    settings = ("--device", "cpu", "--size", "32", "--epochs", "1", "--batch-size", "4")
    command = (tmp_path, "-o", tmp_path / "run", "--weights", "none", *settings)
    done = run(hidden, "lits-train", *command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/last.pth").exists()
    assert '"memory_gb"' not in (tmp_path / "run/metrics.jsonl").read_text()


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import, but for those that a try or an if guards."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.ClassDef | ast.With):
            waiting += statement.body


def test_no_module_of_one_system_is_imported_unguarded() -> None:
    found = []
    for source in sources():
        for statement in module_level(ast.parse(source.read_text())):
            names = (
                [alias.name for alias in statement.names]
                if isinstance(statement, ast.Import)
                else [statement.module or ""]
                if isinstance(statement, ast.ImportFrom)
                else []
            )
            bad = {name.partition(".")[0] for name in names} & POSIX_MODULES
            found += [f"{source.relative_to(ROOT)}: import {name}" for name in bad]
    assert not found


def is_documentation(tree: ast.Module) -> set[int]:
    """Constants that are no values: docstrings, and strings that stand alone below a field."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


@pytest.mark.slow
def test_what_linux_alone_has_is_asked_for_in_few_places() -> None:
    found = []
    for source in sources():
        if source.name in OWNERS:
            continue
        tree = ast.parse(source.read_text())
        documentation = is_documentation(tree)
        for node in ast.walk(tree):
            where = f"{source.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name.startswith(("os.sched_", "os.fork", "os.getuid", "ctypes.CDLL")):
                    found.append(f"{where}: {name}")
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documentation
                and "/proc" in node.value
            ):
                found.append(f"{where}: /proc")
    assert not found
