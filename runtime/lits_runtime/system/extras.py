"""What to install when an import fails, from the metadata of the installed distribution."""

import re
from types import TracebackType

from lits_runtime.messages import brief

DISTRIBUTION = "lits-toolkit"
DISTRIBUTION_OF_MODULE = {
    "PIL": "pillow",
    "cc3d": "connected-components-3d",
    "google": "protobuf",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Of modules whose name differs from the distribution's by more than dashes."""
_EXTRA_OF_PACKAGE = {
    "lits_runtime": "cpu",
    "lits_train": "train",
    "lits_export": "export",
    "lits_tools": "tools",
}
_EITHER = {"onnxruntime": ("cpu", "cuda")}
"""Modules that come with either of two extras, for different machines."""


def explain_import(error: Exception, command: str, package: str) -> str | None:
    """One line that says which import failed and what to install; None if no import failed.

    Args:
        error: that ended the command.
        command: its name.
        package: the command's own, one of our four.
    """
    module = _failed_module(error)
    if module is None:
        return None
    if module in _EXTRA_OF_PACKAGE:
        return f"{command}: {brief(error)}; reinstall it: {_install((), force=True)}"
    extras = extras_of(module, package)
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return f"{command} needs {module}, which is not installed: {_install(extras)}"
    reason = brief(error) or type(error).__name__
    return f"{command} needs {module}, which does not load ({reason}): {_install(extras, True)}"


def extras_of(module: str, package: str) -> tuple[str, ...]:
    """The extras that bring a module, any one of which will do; none if the base install brings it.

    The extra of the command's own package is preferred. It is also the answer for a module that no
    extra names: a dependency of a dependency is then missing, which reinstalling repairs.
    """
    if module in _EITHER:
        return _EITHER[module]
    wanted = distribution_of(module)
    by_extra = requirements()
    own = _EXTRA_OF_PACKAGE.get(package, "cpu")
    if wanted in by_extra.get("", ()):
        return ()
    found = [extra for extra, names in by_extra.items() if wanted in names and extra != "dev"]
    return (own,) if own in found or not found else (found[0],)


def distribution_of(module: str) -> str:
    """The distribution that brings a module, its name normalised.

    >>> distribution_of("PIL"), distribution_of("indexed_gzip")
    ('pillow', 'indexed-gzip')
    """
    return _normal(DISTRIBUTION_OF_MODULE.get(module, module))


def requirements() -> dict[str, set[str]]:
    """Required distributions by extra, "" for the base install; empty if we are not installed."""
    import importlib.metadata

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    by_extra: dict[str, set[str]] = {}
    nested: dict[str, set[str]] = {}
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        key = extra[1] if extra else ""
        by_extra.setdefault(key, set())
        if name is None:
            continue
        if _normal(name[0]) == DISTRIBUTION:
            inner = re.search(r"\[([^]]*)\]", line)
            nested.setdefault(key, set()).update(re.findall(r"[\w-]+", inner[1] if inner else ""))
        else:
            by_extra[key].add(_normal(name[0]))
    for _ in nested:  # as often as extras can name each other
        for key, inner_names in nested.items():
            by_extra[key].update(*(by_extra.get(name, set()) for name in inner_names))
    return by_extra


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _install(extras: tuple[str, ...], force: bool = False) -> str:
    option = "--force-reinstall " if force else ""
    wanted = [f"'{DISTRIBUTION}[{extra}]'" for extra in extras] or [DISTRIBUTION]
    return f"pip install {option}{' or '.join(wanted)}"


def _failed_module(error: Exception) -> str | None:
    """The top-level module that failed to import, from the error itself or its traceback."""
    if isinstance(error, ImportError) and error.name:
        named = error.name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) or not named.startswith("lits_"):
            return named
    return _imported(error.__traceback__)


def _imported(traceback: TracebackType | None) -> str | None:
    """The first foreign package of which a module was being executed."""
    while traceback is not None:
        frame = traceback.tb_frame
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and not name.startswith(("lits_", "__main__")):
            return name
        traceback = traceback.tb_next
    return None
