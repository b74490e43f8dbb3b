"""Installed versions of the packages that a result depends on."""

from functools import lru_cache


def version(distribution: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    import importlib.metadata  # slow: it imports the e-mail parser

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache(1)
def versions() -> dict[str, str]:
    """Of the packages that a result depends on, by distribution."""
    names = ("lits-toolkit", "onnxruntime", "onnxruntime-gpu", "numpy", "nibabel", "isal")
    known = {name: version(name) for name in (*names, "connected-components-3d")}
    return {name: number for name, number in known.items() if number is not None}
