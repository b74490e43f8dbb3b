"""The runtime inside another program: threads, sources, progress, cancellation."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import lits_runtime
from lits_runtime import CancelledError, Options, Scan, Segmenter, VolumeError
from support.files.scans import LPS_AFFINE, load_nifti, random_hu
from support.networks.tiny_models import positional_labels, positional_model, tiny_model


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open(positional_model(), provider="cpu", threads=2)


@pytest.fixture
def stored() -> NDArray[np.int16]:
    return random_hu((14, 13, 12))


def test_every_source_gives_the_same_labels(
    segmenter: Segmenter, stored: NDArray[np.int16], tmp_path: Path
) -> None:
    image = nib.Nifti1Image(stored, LPS_AFFINE)
    nib.save(image, tmp_path / "scan.nii.gz")
    nib.save(image, tmp_path / "scan.nii")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    packed = (tmp_path / "scan.nii.gz").read_bytes()
    with (tmp_path / "scan.nii").open("rb") as file:
        sources: dict[str, Any] = {
            "path": tmp_path / "scan.nii.gz",
            "name": str(tmp_path / "scan.nii"),
            "open file": file,
            "bytes in memory": io.BytesIO(packed),
            "plain bytes": io.BytesIO(image.to_bytes()),
            "pipe": Pipe(packed),
            "nibabel": image,
            "nibabel proxy": load_nifti(tmp_path / "scan.nii.gz"),
            "array": (stored, LPS_AFFINE),
            "scan": Scan.open(tmp_path / "scan.nii.gz", max_voxels=stored.size),
        }
        for name, source in sources.items():
            labels = segmenter.segment(source).labels
            np.testing.assert_array_equal(labels, positional_labels(stored), err_msg=name)
        assert not file.closed
    upload = io.BytesIO(packed)
    report = segmenter.segment_file(upload, tmp_path / "mask.nii.gz")
    assert report.whole_because is None
    mask = np.asanyarray(load_nifti(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, positional_labels(stored))


@pytest.mark.slow
def test_threads_that_share_a_segmenter_get_the_serial_results(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    scans = []
    for seed in range(24):
        scan = tmp_path / f"{seed}.nii.gz"
        nib.save(nib.Nifti1Image(random_hu((20, 18, 5 + seed), seed), LPS_AFFINE), scan)
        scans.append(scan)

    def work(scan: Path) -> tuple[NDArray[np.uint8], Any]:
        report = segmenter.segment_file(scan, scan.with_suffix(".mask.nii.gz"), force=True)
        result = segmenter.segment(scan, Options(thresholds={"lesion": 0.9}))
        assert report.scan_sha256 == result.report.scan_sha256
        return result.labels, (report.lesions, report.volumes_ml)

    serial = [work(scan) for scan in scans]
    masks = [scan.with_suffix(".mask.nii.gz").read_bytes() for scan in scans]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for (labels, facts), (expected, expected_facts) in zip(
                pool.map(work, scans), serial, strict=True
            ):
                np.testing.assert_array_equal(labels, expected)
                assert facts == expected_facts
    assert masks == [scan.with_suffix(".mask.nii.gz").read_bytes() for scan in scans]


def test_progress_is_told_in_order(segmenter: Segmenter, stored: NDArray[np.int16]) -> None:
    told: list[tuple[int, int]] = []
    segmenter.segment(
        (stored, LPS_AFFINE), batch_size=5, progress=lambda *told_now: told.append(told_now)
    )
    assert told == [(5, 12), (10, 12), (12, 12)]


def test_cancellation_writes_nothing_and_the_segmenter_goes_on(
    segmenter: Segmenter, stored: NDArray[np.int16], tmp_path: Path
) -> None:
    seen: list[int] = []
    mask = tmp_path / "out/mask.nii.gz"
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(stored, LPS_AFFINE), scan)
    with pytest.raises(CancelledError, match="cancelled, nothing written"):
        segmenter.segment_file(
            scan,
            mask,
            batch_size=1,
            progress=lambda done, of: seen.append(done),
            cancel=lambda: len(seen) == 3,
        )
    assert seen == [1, 2, 3]
    assert list(mask.parent.iterdir()) == []
    np.testing.assert_array_equal(segmenter.segment(scan).labels, positional_labels(stored))


def test_an_error_in_the_callers_progress_reaches_the_caller(
    segmenter: Segmenter, stored: NDArray[np.int16], tmp_path: Path
) -> None:
    def fail(done: int, of: int) -> None:
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="own"):
        segmenter.segment_file((stored, LPS_AFFINE), tmp_path / "mask.nii", progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_other_thresholds_change_labels_as_probabilities_say(stored: NDArray[np.int16]) -> None:
    model = Segmenter.open(tiny_model(), provider="cpu")
    result = model.segment(
        (stored, LPS_AFFINE), Options(thresholds={"lesion": 0.999}), with_probability=True
    )
    logits = stored.astype(np.float64)[..., None] - (50, 100)
    expected = np.where(stored >= 50, 1, 0)
    expected[logits[..., 1] >= np.log(0.999 / 0.001)] = 2
    np.testing.assert_array_equal(result.labels, expected)
    assert result.probability is not None
    for channel, name in enumerate(("liver", "lesion")):
        exact = 255 / (1 + np.exp(-logits[..., channel].clip(-500, 500)))
        assert abs(result.probability[name] - exact).max() <= 0.501
    for lesion in result.lesions:
        assert lesion.mean_probability is not None
        assert lesion.largest_probability is not None
        assert 0.999 <= lesion.mean_probability <= lesion.largest_probability <= 1


@pytest.mark.parametrize("codes", ["LPS", "LPI", "SPL"])
def test_probabilities_are_written_per_class_on_the_scan_s_grid(
    codes: str, segmenter: Segmenter, stored: NDArray[np.int16], tmp_path: Path
) -> None:
    from support.files.scans import reorient

    volume, affine = reorient(stored, LPS_AFFINE, codes)
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "scan.nii.gz")
    scan = Scan.open(tmp_path / "scan.nii.gz")
    segmenter.segment_file(
        scan, tmp_path / "m.nii", mask_kind="lesion", probability=tmp_path / "p.nii.gz"
    )
    held = segmenter.segment(scan, with_probability=True)
    assert held.probability is not None
    for name in ("liver", "lesion"):
        image = load_nifti(tmp_path / f"p_{name}.nii.gz")
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.get_fdata(), held.probability[name] / 255, atol=1e-6)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    mask = np.asanyarray(load_nifti(tmp_path / "m.nii").dataobj)
    np.testing.assert_array_equal(mask, held.labels == 2)
    segmenter.segment_file(scan, tmp_path / "m.nii", mask_kind="liver", force=True)
    mask = np.asanyarray(load_nifti(tmp_path / "m.nii").dataobj)
    np.testing.assert_array_equal(mask, held.labels >= 1)


def test_averaging_is_over_the_transforms_that_change_anything() -> None:
    # The tiny model looks at single voxels, so that every flip, once undone, says the same.
    stored = random_hu((9, 8, 7))
    flips = ["flip_columns", "flip_rows", "flip_slices"]
    flipping = Segmenter.open(tiny_model({"settings": {"tta": flips}}), provider="cpu")
    plain = flipping.segment((stored, LPS_AFFINE)).labels
    averaged = flipping.segment((stored, LPS_AFFINE), Options(tta=True), with_probability=True)
    np.testing.assert_array_equal(averaged.labels, plain)
    assert averaged.probability is not None
    with pytest.raises(lits_runtime.ModelError, match="trained without transforms"):
        Segmenter.open(tiny_model(), provider="cpu").segment(
            (stored, LPS_AFFINE), Options(tta=True)
        )
    alone = Segmenter.open(tiny_model({"settings": {"tta": ["flip_slices"]}}), provider="cpu")
    with pytest.raises(lits_runtime.ModelError, match="trained without transforms"):
        alone.segment((stored, LPS_AFFINE), Options(tta=True))
    unknown = Segmenter.open(tiny_model({"settings": {"tta": ["swirl"]}}), provider="cpu")
    with pytest.raises(lits_runtime.ModelError, match="swirl"):
        unknown.segment((stored, LPS_AFFINE), Options(tta=True))


def test_averaging_averages(stored: NDArray[np.int16]) -> None:
    import onnx

    model = onnx.load_from_string(positional_model())
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"settings": {}', '"settings": {"tta": ["flip_columns"]}')
    positional = Segmenter.open(model.SerializeToString(), provider="cpu")
    averaged = positional.segment((stored, LPS_AFFINE), Options(tta=True), with_probability=True)
    once = positional.segment((stored, LPS_AFFINE), with_probability=True)
    turned = positional.segment((stored[::-1], LPS_AFFINE), with_probability=True)
    assert averaged.probability and once.probability and turned.probability
    mean = (once.probability["lesion"] / 2.0) + turned.probability["lesion"][::-1] / 2.0
    assert abs(averaged.probability["lesion"] - mean).max() <= 1
    assert (averaged.labels != once.labels).any()


def test_a_probability_that_rounding_lifts_above_one_is_one() -> None:
    near_18 = np.linspace(10, 20, 2**20, dtype=np.float32).reshape(1024, 1024, 1)
    with Segmenter.open(tiny_model(), provider="cpu") as model:
        result = model.segment((50 + near_18, LPS_AFFINE), with_probability=True)
    assert result.probability is not None
    assert result.probability["liver"].min() == 255


def test_clean_up_drops_lesions_from_labels_and_from_the_table(stored: NDArray[np.int16]) -> None:
    model = Segmenter.open(tiny_model(), provider="cpu")
    before = model.segment((stored, LPS_AFFINE))
    voxel_ml = before.geometry.voxel_ml
    after = model.segment((stored, LPS_AFFINE), Options(min_lesion_ml=3 * voxel_ml))
    kept = [lesion for lesion in before.lesions if lesion.volume_ml >= 3 * voxel_ml]
    assert 0 < len(kept) < len(before.lesions)
    assert after.lesions == tuple(kept)
    assert after.volumes_ml["lesion"] == pytest.approx(sum(les.volume_ml for les in kept))


def test_limits_on_voxels_are_the_callers(stored: NDArray[np.int16]) -> None:
    with pytest.raises(VolumeError, match=f"expected 1 to {stored.size - 1} voxels"):
        Scan.open((stored, LPS_AFFINE), max_voxels=stored.size - 1)
