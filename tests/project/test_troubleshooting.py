"""The page of messages: it quotes what exists, and every error of ours is on it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lits_runtime import errors
from support.paths import OURS, ROOT

PAGE = ROOT / "docs/troubleshooting.md"
GAP = "\0"
"""Stands for what a message puts in."""
LABORATORY = ("bundled", "benchmark")
"""Rooms whose users are the authors."""
LEAST_FIXED = 11
"""Characters by which a quote tells its message from others."""
ERRORS = {name for name, one in vars(errors).items() if isinstance(one, type)} | {
    "UsageError",
    "BadParameter",
}


def quotes() -> list[str]:
    """The messages of the tables, and those in the text that have a gap."""
    text = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]+)\|", text, re.MULTILINE)
    told = [span for span in re.findall(r"`([^`\n]+)`", text) if "…" in span]
    return [*dict.fromkeys([*re.findall(r"`([^`]+)`", "\n".join(rows)), *told])]


def pattern(quote: str) -> re.Pattern[str]:
    """The fixed parts of a quoted message, in order, within one line."""
    parts = [re.escape(part.strip()) for part in quote.split("…") if part.strip()]
    return re.compile("[^\n]*".join(parts))


def text_of(node: ast.AST) -> str | None:
    """A string or f-string of the source, with gaps."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdg]|%\.\d[fg]", GAP, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values
        )
    return None


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """All of the source, but for the laboratory's."""
    return [
        (path, node)
        for folder in OURS.values()
        for path in sorted(folder.rglob("*.py"))
        if path.relative_to(folder).parts[0] not in LABORATORY
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]


def all_texts() -> str:
    """Every string of the source, one a line."""
    found = {text_of(node) for _, node in nodes()}
    return "\n".join(sorted({" ".join(text.split()) for text in found if text}))


def raised() -> Iterator[tuple[str, str]]:
    """Where an error of ours is raised, and with which words."""
    for path, node in nodes():
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
            continue
        kind, arguments = ast.unparse(node.exc.func).rpartition(".")[2], node.exc.args
        text = text_of(arguments[0]) if kind in ERRORS and arguments else None
        if text and len(re.findall(r"[a-z]{2,}", text)) > 1:
            yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(text.split())


def test_quoted_messages_exist() -> None:
    texts, quoted = all_texts(), quotes()
    assert len(quoted) > 200
    gone = [quote for quote in quoted if not pattern(quote).search(texts)]
    assert not gone, "reworded or removed; correct docs/troubleshooting.md:\n" + "\n".join(gone)


def test_every_error_is_on_the_page() -> None:
    """One quote fits it, so that a search for its words ends at a cause and a cure."""
    told = [quote for quote in quotes() if len(quote.replace("…", "")) >= LEAST_FIXED]
    patterns, found = [pattern(quote) for quote in told], list(raised())
    assert len(found) > 150
    missing = [
        f"{place}: {text.replace(GAP, '…')}"
        for place, text in found
        if not any(one.search(text) for one in patterns)
    ]
    assert not missing, "add to docs/troubleshooting.md:\n" + "\n".join(missing)
