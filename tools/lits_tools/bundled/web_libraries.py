"""Fetch the libraries of the server's pages as libraries.json lists them.

    python -m lits_tools.bundled.web_libraries             # fetches all anew, by npm
    python -m lits_tools.bundled.web_libraries --check     # compares, and writes nothing

Each package has to have the integrity that the list gives. To update one, change its version and
integrity (`npm view PACKAGE@VERSION dist.integrity`), fetch, and run the tests of the pages.
"""

import gzip
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from lits_runtime.cli.command import Command, shared_options

_REPOSITORY = Path(__file__).parents[3]
FOLDER = _REPOSITORY / "runtime/lits_runtime/server/static/vendor"


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Compare, and write nothing.")
@shared_options
def main(check: bool) -> None:
    """Fetch the libraries of the server's pages as libraries.json lists them."""
    for library in json.loads((FOLDER / "libraries.json").read_text()):
        for name, content in fetched(library):
            if check and stored(FOLDER / name) != content:
                raise click.ClickException(
                    f"{name} is not that of {library['package']}: fetch it anew"
                )
            if not check:
                store(FOLDER / name, content)
            click.echo(f"{name}: {library['package']} {library['version']}", err=True)


def fetched(library: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of a library, from its package.

    Raises:
        ClickException: the package cannot be fetched, or is not the one in the list.
    """
    package = f"{library['package']}@{library['version']}"
    with TemporaryDirectory() as folder:
        command = ["npm", "pack", package, "--json", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"npm pack {package} failed: {done.stderr.strip()[-200:]}")
        (packed,) = json.loads(done.stdout)
        if packed["integrity"] != library["integrity"]:
            raise click.ClickException(f"{package} has another integrity: {packed['integrity']}")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            for path in library["files"]:
                member = archive.extractfile(f"package/{path}")
                assert member is not None
                yield _name(path, library["package"]), _without_map(member.read())


def stored(path: Path) -> bytes:
    """The content of a file of the folder; WebAssembly is kept compressed."""
    if path.suffix == ".wasm":
        return gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    return path.read_bytes()


def store(path: Path, content: bytes) -> None:
    """Write a file of the folder as `stored` reads it."""
    if path.suffix == ".wasm":
        path = path.with_name(f"{path.name}.gz")
        content = gzip.compress(content, 9, mtime=0)
    path.write_bytes(content)


def _name(path: str, package: str) -> str:
    """The name under which a file is kept: static hosts do not all serve .mjs as JavaScript.

    >>> _name("dist/ort.wasm.min.mjs", "onnxruntime-web"), _name("index.js", "client-zip")
    ('ort.wasm.min.js', 'client-zip.js')
    """
    if Path(path).stem == "index":
        return f"{package.rpartition('/')[2]}.js"
    return Path(path).with_suffix(".js").name if path.endswith(".mjs") else Path(path).name


def _without_map(content: bytes) -> bytes:
    """Without the name of a source map that is not shipped."""
    lines = content.splitlines(keepends=True)
    if lines and lines[-1].startswith(b"//# sourceMappingURL="):
        lines.pop()
    return b"".join(lines)


if __name__ == "__main__":
    main()
