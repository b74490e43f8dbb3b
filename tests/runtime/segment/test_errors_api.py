"""Wrong arguments to the API end in the tree of errors, and leave no thread and no file open."""

import gc
import io
import linecache
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import pytest

import lits_runtime
from lits_runtime import LitsError, Options, OutOfMemoryError, Scan, Segmenter, VolumeError
from lits_runtime.batch import Settings, run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.batch.jobs import plan
from lits_runtime.model.description import describe
from support.files.scans import LPS_AFFINE, random_hu
from support.networks.tiny_models import tiny_model

FOLDER = str(Path(lits_runtime.__file__).parent)
HU = random_hu((6, 5, 4))


class Caller(Exception):
    """What a caller's own code raises passes through."""


class Raising(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise Caller("the caller's own")


class Returning(io.BytesIO):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def read(self, size: int | None = -1, /) -> bytes:
        return cast(bytes, self.value)


class Short(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1 if size is None or size != 0 else 0)


def closed_file(path: Path) -> Any:
    with path.open("rb") as file:
        return file


def scans(folder: Path) -> dict[str, Any]:
    """What is no scan, though somebody might pass it."""
    good = folder / "scan.nii"
    nib.save(nib.Nifti1Image(HU, LPS_AFFINE), good)
    (folder / "empty").write_bytes(b"")
    (folder / "text.nii.gz").write_text("hello")
    affines = {
        "3 x 3": np.eye(3),
        "NaN": np.full((4, 4), np.nan),
        "zeros": np.zeros((4, 4)),
        "words": [["a"] * 4] * 4,
        "None": None,
        "complex": np.eye(4) * 1j,
        "objects": np.eye(4).astype(object),
        "ragged": [[1], [2, 3]],
    }
    arrays = {
        "float16 of NaN": np.full((3, 3, 3), np.nan, np.float16),
        "objects": np.full((3, 3, 3), None),
        "words": np.full((3, 3, 3), "a"),
        "bool": np.zeros((3, 3, 3), bool),
        "complex": np.zeros((3, 3, 3), complex),
        "dates": np.zeros((3, 3, 3), "M8[s]"),
        "records": np.zeros((3, 3, 3), [("a", "i4")]),
        "0-d": np.array(3),
        "1-d": np.arange(4),
        "2-d": np.zeros((4, 4)),
        "4-d": np.zeros((2, 2, 2, 2)),
        "empty": np.zeros((0, 3, 3)),
        "a list": [1, 2],
        "ragged": [[1], [2, 3]],
        "None": None,
        "NaN": np.full((3, 3, 3), np.nan),
        "inf": np.full((3, 3, 3), np.inf),
    }
    sources: dict[str, Any] = {
        "bytes": good.read_bytes(),
        "bytearray": bytearray(b"x"),
        "None": None,
        "int": 5,
        "float": 1.5,
        "bool": True,
        "array": HU,
        "list": [HU, LPS_AFFINE],
        "dict": {"scan": good},
        "set": {1},
        "object": object(),
        "class": Path,
        "function": closed_file,
        "one of two": (HU,),
        "three of two": (HU, LPS_AFFINE, 1),
        "nothing of two": (),
        "no name": "",
        "NUL": "a\0b.nii",
        "bytes path": os.fsencode(good),
        "too long": "x" * 5000,
        "folder": folder,
        "nowhere": folder / "none.nii.gz",
        "empty file": folder / "empty",
        "text": folder / "text.nii.gz",
        "surrogate": "\ud800.nii",
        "closed file": closed_file(good),
        "text mode": io.StringIO("hello"),
        "file that raises": Raising(),
        "file of words": Returning("word"),
        "file of None": Returning(None),
        "file of ints": Returning(5),
        "empty BytesIO": io.BytesIO(),
        "another segmenter": Segmenter,
    }
    sources |= {f"affine of {name}": (HU, value) for name, value in affines.items()}
    sources |= {f"array of {name}": (value, LPS_AFFINE) for name, value in arrays.items()}
    return sources


OPTIONS: dict[str, dict[str, Any]] = {
    "thresholds of str": {"thresholds": "0.5"},
    "a list of thresholds": {"thresholds": [0.5, 0.5]},
    "threshold as str": {"thresholds": {"lesion": "0.5"}},
    "threshold NaN": {"thresholds": {"lesion": float("nan")}},
    "threshold negative": {"thresholds": {"lesion": -1}},
    "threshold 0": {"thresholds": {"lesion": 0}},
    "threshold 2": {"thresholds": {"lesion": 2}},
    "threshold bool": {"thresholds": {"lesion": True}},
    "threshold None": {"thresholds": {"lesion": None}},
    "threshold array": {"thresholds": {"lesion": np.ones(2)}},
    "threshold complex": {"thresholds": {"lesion": 1j}},
    "class of int": {"thresholds": {1: 0.5}},
    "unknown class": {"thresholds": {"spleen": 0.5}},
    "thresholds None": {"thresholds": None},
    "tta str": {"tta": "no"},
    "tta None": {"tta": None},
    "tta int": {"tta": 1},
    "tta of a model without": {"tta": True},
    "largest str": {"keep_largest_liver": "yes"},
    "outside float": {"drop_lesions_outside_liver": 0.5},
    "strict list": {"strict": []},
    "ml str": {"min_lesion_ml": "1"},
    "ml NaN": {"min_lesion_ml": float("nan")},
    "ml inf": {"min_lesion_ml": float("inf")},
    "ml negative": {"min_lesion_ml": -1},
    "largest of model": {"postprocessing": None},
    "search str": {"search": "no"},
}

OPENING: dict[str, dict[str, Any]] = {
    "provider gpu": {"provider": "gpu"},
    "provider None": {"provider": None},
    "provider bytes": {"provider": b"cpu"},
    "provider int": {"provider": 0},
    "provider list": {"provider": ["cpu"]},
    "threads 0": {"threads": 0},
    "threads -1": {"threads": -1},
    "threads str": {"threads": "2"},
    "threads float": {"threads": 2.0},
    "threads 1e9": {"threads": 10**9},
    "threads bool": {"threads": True},
    "threads NaN": {"threads": float("nan")},
    "threads list": {"threads": [2]},
    "device -1": {"device_id": -1},
    "device str": {"device_id": "0"},
    "device None": {"device_id": None},
    "device large": {"device_id": 2**70},
    "sha short": {"sha256": "ab"},
    "sha of another": {"sha256": "0" * 64},
    "sha no hex": {"sha256": "z" * 64},
    "sha bytes": {"sha256": b"0" * 64},
    "sha empty": {"sha256": ""},
}

MODELS: dict[str, Any] = {
    "int": 5,
    "bool": True,
    "list": [],
    "empty bytes": b"",
    "bytes": b"not a model",
    "no name": "",
    "NUL": "a\0b",
    "too long": "x" * 5000,
    "nowhere": "none.onnx",
    "folder": FOLDER,
    "file object": io.BytesIO(b"x"),
    "array": HU,
}

CALLS: dict[str, dict[str, Any]] = {
    "options dict": {"options": {"tta": True}},
    "options str": {"options": "x"},
    "options class": {"options": Options},
    "options 0": {"options": 0},
    "batch 0": {"batch_size": 0},
    "batch -3": {"batch_size": -3},
    "batch str": {"batch_size": "3"},
    "batch float": {"batch_size": 3.0},
    "batch bool": {"batch_size": True},
    "progress int": {"progress": 5},
    "cancel str": {"cancel": "yes"},
    "cancel list": {"cancel": []},
}

SLABS: dict[str, Any] = {
    "None": None,
    "str": "x",
    "bytes": b"x",
    "int": 5,
    "2-d": np.zeros((4, 4), np.float32),
    "4-d": np.zeros((1, 4, 4, 4), np.float32),
    "empty": np.zeros((0, 4, 4), np.float32),
    "no columns": np.zeros((1, 4, 0), np.float32),
    "objects": np.full((1, 4, 4), None),
    "bool": np.zeros((1, 4, 4), bool),
    "complex": np.zeros((1, 4, 4), complex),
    "NaN": np.full((1, 4, 4), np.nan, np.float32),
    "beyond float32": np.full((1, 4, 4), 1e300),
    "ragged": [[1], [2, 3]],
    "words": [[["a"]]],
}


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model(), provider="cpu", threads=2) as opened:
        opened.segment((HU, LPS_AFFINE))
        yield opened


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def refused(call: Callable[[], object]) -> BaseException:
    """The error of a call, which must be ours, the system's, or the caller's own."""
    threads, files = set(threading.enumerate()), descriptors()
    with pytest.raises(Exception) as caught:
        call()
    error = caught.value
    caught = cast(Any, None)
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback is not None
    place = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
    ours = linecache.getline(*place).strip().startswith("raise") and place[0].startswith(FOLDER)
    known = isinstance(error, LitsError | Caller) or (
        isinstance(error, OSError) and error.errno is not None
    )
    assert known or (isinstance(error, ValueError) and ours), f"{error!r} from {place}"
    assert str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 1000 or isinstance(error, OSError)
    error.__traceback__ = None
    if descriptors() > files:
        gc.collect()
    late = {t.name for t in set(threading.enumerate()) - threads if not t.name.startswith("slab")}
    assert not late
    assert descriptors() <= files
    return error


def test_what_is_no_scan_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    mask = tmp_path / "out/mask.nii"
    for name, source in scans(tmp_path).items():
        try:
            refused(lambda source=source: segmenter.segment(source))  # type: ignore[misc]
            refused(lambda source=source: segmenter.segment_file(source, mask))  # type: ignore[misc]
        except BaseException as error:
            raise AssertionError(f"{name}: {error}") from error
    assert not mask.exists()
    assert not list(mask.parent.glob("*"))


@pytest.mark.parametrize("wishes", OPTIONS.values(), ids=OPTIONS)
def test_impossible_options_are_refused(wishes: dict[str, Any], segmenter: Segmenter) -> None:
    refused(lambda: segmenter.segment((HU, LPS_AFFINE), Options(**wishes)))


@pytest.mark.parametrize("wishes", OPENING.values(), ids=OPENING)
def test_impossible_openings_are_refused(wishes: dict[str, Any]) -> None:
    refused(lambda: Segmenter.open(tiny_model(), **({"provider": "cpu"} | wishes)))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_no_model_is_refused(model: Any) -> None:
    refused(lambda: Segmenter.open(model, provider="cpu"))
    if not isinstance(model, bytes):
        refused(lambda: describe(model))


@pytest.mark.parametrize("wishes", CALLS.values(), ids=CALLS)
def test_impossible_wishes_of_a_call_are_refused(
    wishes: dict[str, Any], segmenter: Segmenter, tmp_path: Path
) -> None:
    refused(lambda: segmenter.segment((HU, LPS_AFFINE), **wishes))
    refused(lambda: segmenter.segment_file((HU, LPS_AFFINE), tmp_path / "m.nii", **wishes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slab", SLABS.values(), ids=SLABS)
def test_what_is_no_slab_is_refused(slab: Any, segmenter: Segmenter) -> None:
    refused(lambda: segmenter.labels(slab))
    refused(lambda: segmenter.probability(slab))


def test_impossible_outputs_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    scan = (HU, LPS_AFFINE)
    (tmp_path / "file").write_text("x")
    outputs: dict[str, Any] = {
        "png": tmp_path / "mask.png",
        "no ending": tmp_path / "mask",
        "folder": tmp_path,
        "below a file": tmp_path / "file/mask.nii",
        "NUL": "a\0b.nii",
        "None": None,
        "int": 5,
        "bytes": b"mask.nii",
        "empty": "",
        "stream": io.BytesIO(),
    }
    result = segmenter.segment(scan)
    for name, output in outputs.items():
        for way in (
            lambda output=output: segmenter.segment_file(scan, output),
            lambda output=output: result.save(output),
            lambda output=output: segmenter.segment_file(
                scan, tmp_path / "m.nii", probability=cast(Any, 5 if output is None else output)
            ),
        ):
            try:
                refused(way)
            except BaseException as error:
                raise AssertionError(f"{name}: {error}") from error
    refused(lambda: segmenter.segment_file(scan, tmp_path / ("x" * 300 + ".nii")))
    kinds: tuple[Any, ...] = ("spleen", None, 5, ["labels"], b"labels")
    for kind in kinds:
        refused(lambda kind=kind: segmenter.segment_file(scan, tmp_path / "m.nii", mask_kind=kind))  # type: ignore[misc]
    refused(lambda: segmenter.segment(scan, with_probability=cast(Any, "yes")))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_numpy_s_scalars_are_as_good_as_python_s(segmenter: Segmenter, tmp_path: Path) -> None:
    numpys: dict[str, Any] = {"tta": np.False_, "min_lesion_ml": np.float32(0.5)}
    options = Options(thresholds={"lesion": cast(Any, np.float64(0.5))}, **numpys)
    size: Any = np.int64(2)
    with Segmenter.open(tiny_model(), provider="cpu", threads=size, device_id=0) as opened:
        assert opened.segment((HU, LPS_AFFINE), options, batch_size=size).labels.shape == HU.shape
    slab = segmenter.labels(HU.T.astype(np.float64))
    np.testing.assert_array_equal(slab, segmenter.labels(HU.T.astype(np.float32)))


def test_short_reads_are_refused_or_read(segmenter: Segmenter, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(HU, LPS_AFFINE), tmp_path / "scan.nii")
    expected = segmenter.segment(tmp_path / "scan.nii").labels
    source = Short((tmp_path / "scan.nii").read_bytes())
    try:
        labels = segmenter.segment(source).labels
    except VolumeError:
        return
    np.testing.assert_array_equal(labels, expected)


def test_callbacks_raise_their_own_and_answer_by_truth(segmenter: Segmenter) -> None:
    error = Caller("mine")

    def fail(*ignored: object) -> bool:
        raise error

    callbacks: tuple[dict[str, Any], ...] = ({"progress": fail}, {"cancel": fail})
    for wishes in callbacks:
        with pytest.raises(Caller) as caught:
            segmenter.segment((HU, LPS_AFFINE), **wishes)
        assert caught.value is error
    answers: tuple[Any, ...] = (None, 0, "", [])
    for answer in answers:
        segmenter.segment((HU, LPS_AFFINE), cancel=[answer].pop, batch_size=4)
    refused(lambda: segmenter.segment((HU, LPS_AFFINE), cancel=lambda: cast(Any, "yes")))
    array: Any = np.ones(2)
    refused(lambda: segmenter.segment((HU, LPS_AFFINE), cancel=lambda: array))


def test_batches_refuse_what_is_none(tmp_path: Path, tiny_model_path: Path) -> None:
    anything: Any
    job = Job(tmp_path / "none.nii", tmp_path / "mask.nii")
    for anything in (None, 5, "model", {"model": None}):
        refused(lambda anything=anything: segment_scan(job, anything))  # type: ignore[misc]
        refused(lambda anything=anything: list(run_batch([job], anything)))  # type: ignore[misc]
    settings = Settings(model=tiny_model_path, provider="cpu")
    for anything in (None, 5, "scan.nii", ("a", "b")):
        refused(lambda anything=anything: segment_scan(anything, settings))  # type: ignore[misc]
    refused(lambda: segment_scan(job, settings))
    refused(lambda: list(run_batch(cast(Any, None), settings)))
    refused(lambda: list(run_batch(cast(Any, [None]), settings)))
    refused(lambda: Scan.open(cast(Any, 5)))
    assert plan([tmp_path])[0].problem, "a folder without scans is a job that fails"


def test_memory_that_runs_out_fails_one_scan_of_a_batch(
    tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lits_runtime.segment.outputs import FileSink

    for name in ("a", "b", "c"):
        nib.save(nib.Nifti1Image(HU, LPS_AFFINE), tmp_path / f"{name}.nii")
    opened = FileSink.open

    def fail(scan: Scan, *rest: Any, **named: Any) -> Any:
        if scan.name.endswith("b.nii"):
            raise MemoryError
        return opened(scan, *rest, **named)

    monkeypatch.setattr(FileSink, "open", fail)
    jobs = [Job(tmp_path / f"{name}.nii", tmp_path / f"out/{name}.nii") for name in "abc"]
    outcomes = list(run_batch(jobs, Settings(model=tiny_model_path, provider="cpu")))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    error = outcomes[1].error
    assert isinstance(error, OutOfMemoryError)
    assert isinstance(error, MemoryError)
    assert "b.nii, 6 x 5 x 4 voxels: out of memory" in str(error)
    from click.testing import CliRunner

    from lits_runtime.cli.infer import main

    said = CliRunner().invoke(
        main, [str(tmp_path / "b.nii"), "-m", str(tiny_model_path), "--provider", "cpu"]
    )
    assert said.exit_code == 1
    assert said.stderr.count("\n") == 1
    assert "out of memory" in said.stderr
