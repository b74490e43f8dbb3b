"""The page that segments in the browser alone, as a folder for any host of static files."""

import shutil
from pathlib import Path

from lits_runtime.errors import OutputError
from lits_runtime.files.atomic import atomic_folder
from lits_runtime.messages import printable
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.checked_file import check, read_content

STATIC = Path(__file__).parent / "static"
MODEL_NAME = "local/model.onnx"
"""Where the page expects the model, as the server's own route has it."""
_FOLDERS = ("local", "vendor")
_FILES = ("isolation.js", "lesions.js", "viewer.js")
_FIRST = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=local/">
<title>Liver and lesions, in this browser alone</title>
<p><a href="local/">Segment in this browser alone</a></p>
</html>
"""


def write_static(folder: Path, model: Path | None = None, model_sha256: str | None = None) -> int:
    """Write the page with its libraries and a model; the bytes written.

    Args:
        folder: to write; it must be empty, if there is one.
        model: None: the bundled one.
        model_sha256: of its only content to accept.

    Raises:
        OutputError: there is something in the folder.
        ModelError: the model does not open, or is another one.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{printable(str(folder))} exists and is not an empty folder: choose another one"
        )
    content = read_content(model or bundled_model())
    check(content, model_sha256)
    with atomic_folder(folder) as new:
        for name in _FOLDERS:
            shutil.copytree(STATIC / name, new / name)
        for name in _FILES:
            shutil.copyfile(STATIC / name, new / name)
        (new / MODEL_NAME).write_bytes(content)
        (new / "index.html").write_text(_FIRST, "utf-8")
        return sum(path.stat().st_size for path in new.rglob("*") if path.is_file())
