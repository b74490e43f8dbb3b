"""The libraries of the server's pages are those of their packages."""

import json

import pytest

from lits_tools.bundled.web_libraries import FOLDER, fetched, stored
from support.services import node_runtime

LIBRARIES = json.loads((FOLDER / "libraries.json").read_text())


@pytest.mark.slow
def test_they_are_as_their_packages_have_them() -> None:
    if reason := node_runtime.missing():
        pytest.skip(reason)
    names = set()
    for library in LIBRARIES:
        for name, content in fetched(library):
            assert stored(FOLDER / name) == content, name
            names.add(f"{name}.gz" if name.endswith(".wasm") else name)
    others = {path.name for path in FOLDER.iterdir()} - names
    assert all(
        name.startswith("LICENSE.") or name in ("README.md", "libraries.json") for name in others
    )
    assert len(others) > len(LIBRARIES)
