"""A segmenter's life: closed, forked, pickled, left early, and nothing of it stays behind."""

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import lits_runtime
from lits_runtime import ClosedError, LitsError, ModelError, Options, ProviderError, Segmenter
from lits_runtime.batch import Outcome, Settings, run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.system.threads import Prefetched, ordered_map
from support.files.scans import LPS_AFFINE, random_hu
from support.networks.tiny_models import tiny_model

PATIENCE_S = 20
"""A child that takes longer hangs."""
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Python 3.12 warns of any fork where there are threads, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(random_hu((12, 11, 30)), LPS_AFFINE), path)
    return path


@pytest.fixture(params=[2, 20], ids="threads={}".format)
def segmenter(request: pytest.FixtureRequest, tiny_model_path: Path) -> Iterator[Segmenter]:
    """With 20 threads, each of 8 lanes has threads of ONNX Runtime too."""
    with Segmenter.open(tiny_model_path, provider="cpu", threads=request.param) as opened:
        yield opened


def native_threads() -> set[int]:
    """Threads of this process, ONNX Runtime's included, once those that end have ended.

    Compare by `<=`: threads that another test left may end at any moment.
    """
    folder = Path("/proc/self/task")
    staying = []
    for _ in range(3):
        if folder.exists():
            staying.append({int(entry.name) for entry in folder.iterdir()})
        else:
            staying.append({thread.native_id or 0 for thread in threading.enumerate()})
        time.sleep(0.02)
    return set.intersection(*staying)


def busy_threads() -> set[threading.Thread]:
    """Python's threads but for the lanes of a segmenter, which wait for its next scan."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("slab")}


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for link in folder.iterdir() if folder.exists() else ():
        with suppress(OSError):
            found.add(os.readlink(link))
    return found


def in_child(work: Callable[[], object]) -> str:
    """What a forked child's work gave, or the error it met; a child that hangs is a failure."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = repr(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    timer = threading.Timer(PATIENCE_S, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert status == 0, f"the child ended with {status}, having said {said!r}"
    return said


def test_close_ends_every_thread_and_refuses_what_comes_after(
    tiny_model_path: Path, scan: Path, tmp_path: Path
) -> None:
    before, files = native_threads(), open_files()
    with Segmenter.open(tiny_model_path, provider="cpu", threads=20) as opened:
        opened.segment(scan)
        assert native_threads() - before
        assert not opened.closed
    assert native_threads() <= before
    assert open_files() == files
    assert opened.closed
    opened.close()
    slab = np.zeros((1, 4, 4), np.float32)
    for use in (
        lambda: opened.segment(scan),
        lambda: opened.segment_file(scan, tmp_path / "mask.nii"),
        lambda: opened.labels(slab),
        lambda: opened.probability(slab),
        lambda: pickle.dumps(opened),
        lambda: opened.engine.pool(),
    ):
        with pytest.raises(ClosedError, match="closed"):
            use()
    assert not (tmp_path / "mask.nii").exists()


def test_a_segmenter_that_is_dropped_leaves_no_thread(tiny_model_path: Path, scan: Path) -> None:
    before = native_threads()
    Segmenter.open(tiny_model_path, provider="cpu", threads=20).segment(scan)
    deadline = time.monotonic() + PATIENCE_S
    while native_threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert native_threads() <= before


def test_close_waits_for_what_others_have_under_way(segmenter: Segmenter, scan: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def progress(done: int, of: int) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(segmenter.segment, scan, progress=progress)
        assert begun.wait(PATIENCE_S)
        closing = pool.submit(segmenter.close)
        while not segmenter.closed:
            time.sleep(0.001)
        with pytest.raises(ClosedError):
            segmenter.segment(scan)
        assert not closing.done()
        go_on.set()
        assert under_way.result(PATIENCE_S).labels.shape == (12, 11, 30)
        closing.result(PATIENCE_S)


def test_close_out_of_a_callback_is_refused_instead_of_waiting_for_itself(
    segmenter: Segmenter, scan: Path
) -> None:
    def close(done: int, of: int) -> None:
        segmenter.close()

    with pytest.raises(ClosedError, match="from within a segmentation"):
        segmenter.segment(scan, progress=close)
    assert segmenter.segment(scan).labels.any()


@fork_only
def test_a_forked_child_segments_as_its_parent_does(segmenter: Segmenter, scan: Path) -> None:
    expected = segmenter.segment(scan).labels.tobytes()
    said = in_child(lambda: segmenter.segment(scan).labels.tobytes() == expected)
    assert said == "True"
    assert segmenter.segment(scan).labels.tobytes() == expected
    twice = in_child(lambda: in_child(lambda: segmenter.segment(scan).labels.tobytes() == expected))
    assert twice == repr("True")


@fork_only
def test_a_forked_child_may_close_or_drop_what_it_inherits(
    tiny_model_path: Path, scan: Path
) -> None:
    held = [Segmenter.open(tiny_model_path, provider="cpu", threads=20)]
    held[0].segment(scan)
    assert in_child(held[0].close) == "None"
    assert in_child(lambda: held.clear()) == "None"  # its session's destructor would crash here
    assert held[0].segment(scan).labels.any()
    held[0].close()
    assert "ClosedError" in in_child(lambda: held[0].segment(scan))


@pytest.mark.slow
@fork_only
def test_a_fork_while_other_threads_segment_hangs_nowhere(segmenter: Segmenter, scan: Path) -> None:
    expected = segmenter.segment(scan).labels.tobytes()
    stop = threading.Event()

    def same_labels() -> object:
        same = segmenter.segment(scan).labels.tobytes() == expected
        segmenter.close()
        return same

    def go_on() -> None:
        while not stop.is_set():
            segmenter.segment(scan)

    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(go_on)]
        try:
            for _ in range(4):
                assert in_child(same_labels) == "True"
        finally:
            stop.set()
        for future in running:
            future.result(PATIENCE_S)


def test_no_property_holds_a_lock_that_a_fork_could_leave_locked() -> None:
    for source in Path(lits_runtime.__file__).parent.rglob("*.py"):
        assert "functools import cached_property" not in source.read_text(), source


@fork_only
def test_what_was_begun_before_a_fork_is_refused_after_it(
    tiny_model_path: Path, scan: Path
) -> None:
    segmenter = Segmenter.open(tiny_model_path, provider="cpu", threads=2)
    from lits_runtime.segment.one_scan import OneScan
    from lits_runtime.segment.outputs import ToMemory

    applied = Options().applied(segmenter.metadata)
    with OneScan.open(segmenter.engine, scan, applied) as one_scan:

        def run() -> float:
            return one_scan.to_memory(ToMemory())[1].volumes_ml["liver"]

        assert "ClosedError: this segmentation was begun before" in in_child(run)
        assert run() > 0
    inside: list[str] = []

    def fork_inside(done: int, of: int) -> None:
        if not inside:
            reading, writing = os.pipe()
            if not os.fork():
                raise KeyError(writing)  # the child leaves the segmentation by an error of its own
            os.close(writing)
            with os.fdopen(reading) as pipe:
                inside.append(pipe.read())

    try:
        segmenter.segment(scan, progress=fork_inside, batch_size=1)
    except KeyError as error:
        os.write(error.args[0], b"left")
        os._exit(0)
    os.wait()
    assert inside == ["left"]
    segmenter.close()


@fork_only
def test_the_cached_segmenter_of_a_batch_survives_a_fork(
    tiny_model_path: Path, scan: Path, tmp_path: Path
) -> None:
    settings = Settings(model=tiny_model_path, provider="cpu", threads=2)
    segment_scan(Job(scan, tmp_path / "parent.nii"), settings)
    jobs = [Job(scan, tmp_path / f"child{number}.nii") for number in range(3)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, context) as pool:
        records = [pool.submit(segment_scan, job, settings) for job in jobs]
        assert {record.result(PATIENCE_S)["state"] for record in records} == {"done"}
    masks = {job.mask.read_bytes() for job in jobs}
    assert masks == {(tmp_path / "parent.nii").read_bytes()}


@fork_only
def test_a_child_opens_only_the_very_model_that_its_parent_had(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model())
    monkeypatch.chdir(tmp_path)
    with Segmenter.open("model.onnx", provider="cpu", threads=2) as opened:
        monkeypatch.chdir("/")
        assert in_child(lambda: bool(opened.segment(scan).labels.any())) == "True"
        path.write_bytes(tiny_model({"licence": "another"}))
        assert "ModelError: the model's SHA-256" in in_child(lambda: opened.segment(scan))
        path.unlink()
        assert "FileNotFoundError" in in_child(lambda: opened.segment(scan))
        assert opened.segment(scan).labels.any()
    with Segmenter.open(tiny_model(), provider="cpu", threads=2) as opened:
        assert in_child(lambda: bool(opened.segment(scan).labels.any())) == "True"


@fork_only
def test_a_gpu_is_refused_in_a_forked_child(tiny_model_path: Path, scan: Path) -> None:
    segmenter = Segmenter.open(tiny_model_path, provider="cpu", threads=1)
    segmenter.engine.provider = "cuda"
    assert "ProviderError" in in_child(lambda: segmenter.segment(scan))
    assert "spawn" in in_child(lambda: segmenter.segment(scan))


def labels_of(segmenter: Segmenter, scan: Path) -> bytes:
    return segmenter.segment(scan).labels.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_segmenter_travels_to_other_processes(
    method: str, tiny_model_path: Path, scan: Path
) -> None:
    with Segmenter.open(tiny_model_path, provider="cpu", threads=2) as opened:
        expected = labels_of(opened, scan)
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            assert pool.submit(labels_of, opened, scan).result(PATIENCE_S) == expected


def test_a_copy_is_another_segmenter_of_the_same_model(tmp_path: Path, scan: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model())
    for model in (path, path.read_bytes()):
        opened = Segmenter.open(model, provider="cpu", threads=2)
        expected = labels_of(opened, scan)
        for again in (pickle.loads(pickle.dumps(opened)), copy.copy(opened), copy.deepcopy(opened)):
            assert again.metadata == opened.metadata
            assert (again.provider, again.lanes) == (opened.provider, opened.lanes)
            again.close()
            assert labels_of(opened, scan) == expected
    pickled = pickle.dumps(Segmenter.open(path, provider="cpu"))
    assert len(pickled) < 1000  # a path, not a model
    path.write_bytes(tiny_model({"licence": "another"}))
    with pytest.raises(ModelError, match="SHA-256"):
        pickle.loads(pickled)


def test_results_and_settings_can_be_pickled(tiny_model_path: Path, scan: Path) -> None:
    from types import MappingProxyType

    with Segmenter.open(tiny_model_path, provider="cpu", threads=2) as opened:
        image: Any = nib.load(scan)
        for source in (scan, image, (np.asarray(image.dataobj), image.affine)):
            result = opened.segment(source, with_probability=True)
            again = pickle.loads(pickle.dumps(result))
            np.testing.assert_array_equal(again.labels, result.labels)
            np.testing.assert_array_equal(again.affine, result.affine)
            assert again.report == result.report
            assert result.probability is not None
            assert again.probability.keys() == result.probability.keys()
            for name in ("a", "b"):
                (again if name == "a" else result).save(scan.with_name(f"{name}.nii"), force=True)
            masks = [scan.with_name(f"{name}.nii").read_bytes() for name in ("a", "b")]
            assert masks[0] == masks[1]
    numpys: dict[str, Any] = {"tta": np.True_, "min_lesion_ml": np.float32(0.5)}
    options = Options(thresholds=MappingProxyType({"lesion": float(np.float32(0.5))}), **numpys)
    for value in (options, Settings(options=options), Job(scan, scan), result.report):
        assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("name", [name for name in lits_runtime.__all__ if "Error" in name])
def test_errors_travel_with_their_message(name: str) -> None:
    kind = getattr(lits_runtime, name)
    outcome = Outcome(Job(Path("a"), Path("b")), "failed", error=kind("what was found"))
    again = pickle.loads(pickle.dumps(outcome))
    assert type(again.error) is kind
    assert str(again.error) == "what was found"
    assert isinstance(again.error, LitsError)
    assert len(kind.__mro__) > 3 or kind is LitsError  # a builtin that a caller would expect


def test_errors_of_a_run_travel(tiny_model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.nii").write_bytes(b"no scan")
    jobs = [Job(tmp_path / name, tmp_path / "m" / name) for name in ("bad.nii", "none.nii")]
    outcomes = list(run_batch(jobs, Settings(model=tiny_model_path, provider="cpu")))
    for outcome in outcomes:
        again = pickle.loads(pickle.dumps(outcome))
        assert (type(again.error), str(again.error)) == (type(outcome.error), str(outcome.error))


class Interrupted(BaseException):
    """As Ctrl-C is, no Exception."""


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), Interrupted()])
def test_leaving_a_segmentation_leaves_nothing_running(
    error: BaseException, segmenter: Segmenter, scan: Path, tmp_path: Path
) -> None:
    threads, files = busy_threads(), open_files()

    def fail(done: int, of: int) -> None:
        raise error

    with pytest.raises(type(error)):
        segmenter.segment_file(scan, tmp_path / "out/mask.nii.gz", progress=fail, batch_size=1)
    assert busy_threads() <= threads
    assert open_files() == files
    assert list((tmp_path / "out").iterdir()) == []


def test_a_real_interrupt_in_the_middle_leaves_nothing_running(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(random_hu((90, 80, 200)), LPS_AFFINE), scan)
    threads, files = busy_threads(), open_files()
    for moment_s in (0.0, 0.01, 0.03):
        began = threading.Event()

        def interrupt(wait_s: float = moment_s, began: threading.Event = began) -> None:
            assert began.wait(PATIENCE_S)
            time.sleep(wait_s)
            signal.raise_signal(signal.SIGINT)

        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                segmenter.segment(scan, progress=lambda *_, began=began: began.set(), batch_size=1)
        other.join()
        assert busy_threads() <= threads
        assert open_files() == files


@pytest.mark.parametrize("fails", [False, True])
def test_stages_that_are_left_early_end_their_thread_and_close_their_source(fails: bool) -> None:
    before = set(threading.enumerate())
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            for number in range(1000):
                if fails and number == 7:
                    raise OSError("disk")
                yield number
        finally:
            closed.append(True)

    with ThreadPoolExecutor(2) as pool:
        with suppress(OSError), Prefetched(source(), 3) as ahead:
            for number in ordered_map(pool, lambda x: x, ahead, 4):
                if number == 9:
                    break
        assert closed == [True]
        with pytest.raises(ZeroDivisionError), Prefetched(source(), 3) as ahead:
            list(ordered_map(pool, lambda number: 1 // (number - 3), ahead, 4))
    assert closed == [True, True]
    assert set(threading.enumerate()) <= before


def test_providers_without_fork_are_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without `os.register_at_fork` the number of the process says as much."""
    segmenter = Segmenter.open(tiny_model(), provider="cpu", threads=2)
    slab = np.full((1, 4, 4), 70, np.float32)
    first = segmenter.labels(slab)
    number = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: number + 1)
    np.testing.assert_array_equal(segmenter.labels(slab), first)
    segmenter.engine.provider = "cuda"
    monkeypatch.setattr(os, "getpid", lambda: number + 2)
    with pytest.raises(ProviderError, match="does not survive a fork"):
        segmenter.labels(slab)
