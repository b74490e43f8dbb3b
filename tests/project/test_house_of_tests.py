"""Tests lie in the rooms of what they test, and share only what is in tests/support."""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.paths import OURS, ROOT

TESTS = ROOT / "tests"
PACKAGES = {folder.parent.name: folder for folder in OURS.values()}
SOURCES = [
    path for part in (*PACKAGES, "project", "support") for path in (TESTS / part).rglob("*.py")
]
MODULES = [path for path in SOURCES if path.name.startswith("test_")]


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_test_module_is_imported() -> None:
    modules = {path.stem for path in MODULES} | {"conftest"}
    for source in SOURCES:
        parts = {part for name in imported(source) for part in name.split(".")}
        assert not parts & modules, source


def test_every_folder_of_tests_is_a_room_of_a_package() -> None:
    for path in MODULES:
        part, *rooms = path.parent.relative_to(TESTS).parts
        if part in PACKAGES:
            assert PACKAGES[part].joinpath(*rooms, "__init__.py").exists(), path
        else:
            assert (part, rooms) == ("project", []), path


def test_names_of_test_modules_are_unique() -> None:
    """Folders of tests are no packages, so that pytest knows a module by its name alone."""
    assert len({path.name for path in MODULES}) == len(MODULES)


def test_the_conftest_holds_fixtures_and_hooks_alone() -> None:
    tree = ast.parse((TESTS / "conftest.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            fixture = any(name.startswith("pytest.fixture") for name in decorators)
            assert fixture or node.name.startswith("pytest_"), node.name
