import os
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lits_runtime import ModelError, ProviderError, Segmenter
from lits_runtime.session.providers import why_not
from lits_runtime.system.processors import usable_processors
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient
from support.networks.tiny_models import tiny_model
from support.paths import SHARED_DATA


@pytest.fixture(scope="module")
def segmenter(tiny_model_path: Path) -> Segmenter:
    return Segmenter.open(tiny_model_path, provider="cpu")


def expected_labels(volume_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = (volume_hu >= 50).astype(np.uint8) + (volume_hu >= 100)
    return labels


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_labels_do_not_depend_on_the_batch(segmenter: Segmenter, batch_size: int) -> None:
    volume = random_hu((9, 8, 7))
    result = segmenter.segment((volume, LPS_AFFINE), batch_size=batch_size)
    np.testing.assert_array_equal(result.labels, expected_labels(volume))
    assert result.volumes_ml["liver"] == pytest.approx(
        (volume >= 50).sum() * abs(np.linalg.det(LPS_AFFINE)) / 1000
    )


def test_context_slices_are_the_neighbours_with_the_ends_repeated() -> None:
    # The runtime must hand over n + 2 slices, of which this model labels the first n.
    proto = onnx.load_from_string(tiny_model({"context_slices": 1}))
    proto.graph.node[0].input[0] = "first"
    proto.graph.node.insert(0, helper.make_node("Slice", ["slab", "start", "stop"], ["first"]))
    for name, index in (("start", 0), ("stop", -2)):
        proto.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [index]))
    model = Segmenter.open(proto.SerializeToString(), provider="cpu")
    volume = random_hu((4, 4, 6))
    result = model.segment((volume, LPS_AFFINE), batch_size=2)
    before = np.concatenate([volume[..., :1], volume[..., :-1]], axis=2)
    np.testing.assert_array_equal(result.labels, expected_labels(before))


@pytest.fixture(scope="module")
def bundled() -> Segmenter:
    return Segmenter.open(provider="cpu")


@pytest.fixture(scope="module")
def small_phantom() -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    from lits_runtime.phantom.ct import make_phantom

    phantom = make_phantom(3, matrix=48, slices=6, lesions=2)
    return phantom.volume_hu, phantom.affine


@pytest.mark.slow
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_mask_of_every_orientation_is_the_mask_in_that_orientation(
    codes: str,
    bundled: Segmenter,
    small_phantom: tuple[NDArray[np.int16], NDArray[np.float64]],
    tmp_path: Path,
) -> None:
    """With the bundled model, whose labels do depend on how the slice lies before it."""
    stored, affine = small_phantom
    original = bundled.segment((stored, affine)).labels
    assert {1} <= set(np.unique(original).tolist())
    volume, turned = reorient(stored, affine, codes)
    nib.save(nib.Nifti1Image(volume, turned), tmp_path / "scan.nii.gz")
    bundled.segment_file(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    mask = load_nifti(tmp_path / "mask.nii.gz")
    assert "".join(aff2axcodes(mask.affine)) == codes
    np.testing.assert_array_equal(
        np.asanyarray(mask.dataobj), reorient(original.astype(np.int16), affine, codes)[0]
    )


def test_bundled_model_is_small_and_says_what_it_is(bundled: Segmenter) -> None:
    assert bundled.metadata.classes == ("liver", "lesion")
    assert bundled.metadata.precision == "fp16-weights"
    assert "not for clinical use" in bundled.metadata.intended_use
    assert bundled.metadata.parity["slices"] > 0
    assert len(bundled.model_sha256) == 64


@pytest.mark.slow
def test_bundled_model_finds_the_phantom_s_liver_and_lesions(bundled: Segmenter) -> None:
    from lits_runtime.phantom.ct import make_phantom

    phantom = make_phantom(7, matrix=256, slices=30, lesions=3)  # not a seed of its training
    labels = bundled.segment((phantom.volume_hu, phantom.affine)).labels
    for value, least in ((1, 0.9), (2, 0.6)):
        pred, gt = labels >= value, phantom.labels >= value
        assert 2 * (pred & gt).sum() / (pred.sum() + gt.sum()) > least, value


def test_mask_keeps_header_and_codes_and_resets_scaling(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    image = nib.Nifti1Image(random_hu((6, 5, 4)), LPS_AFFINE)
    image.header["descrip"] = b"a CT"
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = 300
    image.set_sform(LPS_AFFINE, code="mni")
    image.set_qform(LPS_AFFINE, code="scanner", strip_shears=True)
    image.header.set_slope_inter(2.0, -7)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    nib.save(image, tmp_path / "scan.nii")
    segmenter.segment_file(tmp_path / "scan.nii", tmp_path / "mask.nii")
    scan, mask = load_nifti(tmp_path / "scan.nii"), load_nifti(tmp_path / "mask.nii")
    assert mask.header["scl_slope"] in (1, 0) or np.isnan(mask.header["scl_slope"])
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(mask.get_fdata())) <= {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(mask.affine, scan.affine)
    for key in ("sform_code", "qform_code", "xyzt_units", "descrip", "quatern_b", "pixdim"):
        np.testing.assert_array_equal(mask.header[key], scan.header[key])
    assert mask.header.extensions[0].get_content() == b"kept"
    assert mask.header["cal_max"] == 0


def test_equal_masks_are_equal_files(segmenter: Segmenter, tmp_path: Path) -> None:
    result = segmenter.segment((random_hu((6, 5, 4)), LPS_AFFINE))
    result.save(tmp_path / "a.nii.gz")
    result.save(tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_real_or_phantom_ct_is_segmented_on_its_own_grid(
    bundled: Segmenter, tmp_path: Path
) -> None:
    path = SHARED_DATA / "totalsegmentator/example_ct_sm.nii.gz"
    if not path.exists():
        path = tmp_path / "scan.nii.gz"
        nib.save(nib.Nifti1Image(random_hu((122, 101, 30)).astype("i4"), LPS_AFFINE), path)
    result = bundled.segment(path)
    scan = load_nifti(path)
    assert result.labels.shape == scan.shape
    np.testing.assert_array_equal(result.affine, scan.affine)


def test_what_is_no_model_of_ours_is_refused(tmp_path: Path) -> None:
    plain = onnx.load_from_string(tiny_model())
    del plain.metadata_props[:]
    renamed = onnx.load_from_string(tiny_model())
    for node in renamed.graph.node:
        node.input[:] = ["scan" if name == "slab" else name for name in node.input]
    renamed.graph.input[0].name = "scan"
    cases: dict[str, bytes] = {
        "not an ONNX file": b"not a model",
        "no metadata 'lits'": plain.SerializeToString(),
        "expected a slab of HU in": renamed.SerializeToString(),
        "reads up to 1": tiny_model({"format_version": 2}),
        "orientation is RAS": tiny_model({"orientation": "RAS"}),
        "differ in number": tiny_model({"thresholds": [0.5]}),
    }
    for message, content in cases.items():
        with pytest.raises(ModelError, match=message):
            Segmenter.open(content, provider="cpu")


def test_a_provider_that_does_not_load_is_an_error_and_auto_finds_the_cpu() -> None:
    assert why_not("cpu") is None
    reason = why_not("cuda")
    if reason is None:
        assert Segmenter.open(tiny_model(), provider="auto").provider == "cuda"
        return
    with pytest.raises(ProviderError, match=r"cuda is not available: .*lits-toolkit\[cuda\]"):
        Segmenter.open(tiny_model(), provider="cuda")
    assert Segmenter.open(tiny_model(), provider="auto").provider == "cpu"


def test_unknown_provider_is_an_error() -> None:
    with pytest.raises(ProviderError, match="known are auto, cpu, cuda"):
        Segmenter.open(tiny_model(), provider="rocm")


def test_processors_are_those_of_the_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, allowed)
