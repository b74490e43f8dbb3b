"""The documents: links lead somewhere, commands and rooms exist, versions agree."""

import configparser
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import pytest

import lits_runtime
from lits_runtime.system.versions import version
from support.paths import OURS, ROOT

CARD = ROOT / "runtime/lits_runtime/model/MODEL_CARD.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), CARD]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOREIGN_OPTIONS = {"--build-arg", "--gpus", "--preload"}
"""Of docker, and of gunicorn."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """Those of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\]\([^)]*\)", "", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(SPAN.sub("", prose(page))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in LINK.findall(prose(page)) if ":" not in link]
        waiting += [(page.parent / link).resolve() for link in links if link]
    assert {name_of(page) for page in PAGES} <= {name_of(page) for page in reached}


def command_lines(page: Path) -> Iterator[str]:
    """Lines of shell blocks and of indented blocks, and what stands in the text as a command."""
    text = page.read_text("utf-8")
    blocks = [content for language, content in FENCE.findall(text) if language == "bash"]
    blocks.append("\n".join(re.findall(r"(?<=\n)    (.+)", prose(page))))
    for line in "\n".join(blocks).splitlines():
        if line.startswith(("lits-", "python -m lits_", "torchrun", "make ", "pip install '.[")):
            yield line
    for span in SPAN.findall(prose(page)):
        if span.startswith(("lits-", "make ", "pip install '")) and " " in span:
            yield span


@cache
def commands() -> dict[str, click.Command]:
    """All commands of the distribution, by name."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    modules: dict[str, str] = {}
    for folder in OURS.values():
        source = (folder / "cli/entry_points.py").read_text()
        modules |= {
            name: module for module, name in re.findall(r'launch\("(.+?)", "(.+?)"', source)
        }
    assert sorted(modules) == sorted(script.partition(" ")[0] for script in scripts)
    return {name: importlib.import_module(module).main for name, module in modules.items()}


def parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Options by name, those of a group's own commands too."""
    found = [*command.params]
    if isinstance(command, click.Group):
        found += [one for inner in command.commands.values() for one in inner.params]
    return {name: one for one in found for name in (*one.opts, *one.secondary_opts)} | {
        "--help": click.Option(["--help"])
    }


def check_options(command: click.Command, words: list[str]) -> None:
    """Options exist, and a choice is one of those that there are."""
    if isinstance(command, click.Group) and words and words[0] in command.commands:
        return check_options(command.commands[words[0]], words[1:])
    known = parameters(command)
    for word, following in pairwise([*words, ""]):
        if not word.startswith("-") or re.fullmatch(r"-\d*", word):
            continue
        assert word in known, f"no option {word}"
        kind = known[word].type
        if isinstance(kind, click.Choice):
            assert following in kind.choices, f"{word} {following}"
    return None


@cache
def targets() -> dict[str, click.Command | None]:
    """Those of the Makefile, with the command that a benchmark passes its options to."""
    makefile = (ROOT / "Makefile").read_text()
    modules = dict(re.findall(r"^([\w-]+):.*\n\t.* -m (\S+) \$\(BENCH\)", makefile, re.MULTILINE))
    return dict.fromkeys(re.findall(r"^([\w-]+):", makefile, re.MULTILINE)) | {
        target: importlib.import_module(module).main for target, module in modules.items()
    }


def check_target(target: str, variables: list[str]) -> None:
    assert target in targets(), f"no target {target}"
    for variable in variables:
        command = targets()[target]
        assert command is not None and variable.startswith("BENCH="), variable
        check_options(command, shlex.split(variable.removeprefix("BENCH=")))


def check_line(line: str) -> None:
    words = shlex.split(line, comments=True)
    name, *rest = words[: words.index("|")] if "|" in words else words
    if name == "make":
        check_target(rest[0], rest[1:])
    elif name == "pip":
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = re.findall(r"\w+", rest[-1].partition("[")[2])
        assert set(extras) <= set(setup["options.extras_require"]), extras
    elif "-m" in rest and name in ("python", "torchrun"):
        module, *options = rest[rest.index("-m") + 1 :]
        assert importlib.util.find_spec(module), module
        if module == "lits_train":
            check_options(commands()["lits-train"], options)
    else:
        assert name in commands(), f"no command {name}"
        check_options(commands()[name], rest)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for line in command_lines(page):
        try:
            check_line(line)
        except AssertionError as error:
            pytest.fail(f"{line}: {error}")
    all_commands = [*commands().values(), *filter(None, targets().values())]
    known = {option for command in all_commands for option in parameters(command)}
    told = {span.split()[0] for span in SPAN.findall(prose(page)) if span.startswith("--")}
    assert told <= known | FOREIGN_OPTIONS


def test_the_pages_hold_commands_to_check() -> None:
    lines = {line for page in PAGES for line in command_lines(page)}
    assert {line.split()[0] for line in lines} >= {*commands(), "make", "pip"}


@pytest.mark.parametrize("package", OURS)
def test_every_room_has_its_line(package: str) -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    section = page.partition(f"### {package}\n")[2].partition("\n#")[0]
    rooms = {path.parent.name for path in OURS[package].glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/`", section, re.MULTILINE)) == rooms


def test_files_that_architecture_names_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = {span for span in SPAN.findall(page) if re.fullmatch(r"[\w/]+/\w+\.py", span)}
    folders = [place for folder in OURS.values() for place in (folder, folder.parent)]
    missing = {name for name in named if not any((folder / name).exists() for folder in folders)}
    assert len(named) > 10
    assert not missing


def test_the_version_is_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    current = setup["metadata"]["version"]
    assert f"\nversion: {current}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## [{current}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert lits_runtime.__version__ == version("lits-toolkit")


def test_a_checkout_that_is_not_installed_has_a_version() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'runtime')!r}); import lits_runtime"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{program}; print(lits_runtime.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0+unknown\n"
