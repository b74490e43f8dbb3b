"""Shared fixtures: real CT if it is at hand, otherwise phantoms; a tiny model; exports."""

import os
import signal
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

# One thread each: the tensors here are small, and several processes share the processors.
os.environ["OMP_NUM_THREADS"] = "1"
# Before any test imports Ray, which else looks for a cluster on 127.0.0.1 at another address.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import pytest

from lits_runtime.phantom.ct import make_phantom, write_phantom
from support.made_once import made_once, session_folder
from support.networks.tiny_models import tiny_model
from support.paths import SHARED_DATA

# A shell starts what it puts in the background with Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


SLOW_FIXTURES = {"exported"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a slow fixture is slow; slow tests of one module share a process.

    So do all tests of one recipe's exports, which trace its network once for all precisions.
    """
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        callspec = getattr(item, "callspec", None)
        recipe = callspec.params.get("checkpoint") if callspec else None
        if recipe or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group(recipe or item.path.stem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """If LITS_NO_SKIPS is set, as in CI, a test that would be skipped fails with the reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("LITS_NO_SKIPS"):
        _, _, reason = cast(tuple[str, int, str], report.longrepr)
        report.outcome, report.longrepr = "failed", f"CI accepts no skipped test. {reason}"
    return report


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small LiTS-style cases in three orientations, one of them compressed."""
    folder = tmp_path_factory.mktemp("phantoms")
    for seed, orientation in enumerate(("LPS", "LAS", "RAS")):
        phantom = make_phantom(seed, matrix=64, slices=8, orientation=orientation, lesions=2)
        write_phantom(folder, seed, phantom, gzip=seed == 0)
    return folder


@pytest.fixture(scope="session")
def real_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Volume and mask of LiTS case 44; where the shared data is absent, of a phantom."""
    volume = SHARED_DATA / "lits/volume-44.nii.gz"
    if volume.exists():
        return volume, volume.with_name("segmentation-44.nii.gz")
    phantom = make_phantom(44, matrix=256, slices=40, lesions=2)
    return write_phantom(tmp_path_factory.mktemp("case"), 44, phantom)


@pytest.fixture(scope="session", params=["default", "baseline"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of each recipe, small, whose masks are neither empty nor full."""
    from support.networks.exports import write_checkpoint

    folder = session_folder(tmp_path_factory) / request.param
    return made_once(folder, partial(write_checkpoint, request.param))


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Mapping[str, Any]:
    """The checkpoint's exports by precision."""
    from support.networks.exports import Exports

    return Exports(checkpoint)
