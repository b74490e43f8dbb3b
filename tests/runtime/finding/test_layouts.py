"""What is a scan in the layouts of the field, for every command that searches folders."""

import logging
from pathlib import Path

import pytest

from lits_export.parity.slabs import scan_files
from lits_runtime import VolumeError
from lits_runtime.batch.jobs import plan
from lits_runtime.finding.find import find_scans
from lits_tools.scores.pairs import find_pairs
from lits_train.data.case_files import find_files
from lits_train.data.cases import find_cases
from support.files.record_folders import make, within

# Files of a folder, of which those marked + are scans, and others - with a word of the reason.
# What is marked . is no image, and nobody asks.
LAYOUTS: dict[str, dict[str, str]] = {
    "LiTS": {
        "volume-0.nii": "+",
        "batch 1/volume-10.nii.gz": "+",
        "segmentation-0.nii": "a mask, by the name",
        "batch 1/segmentation-10.nii.gz": "a mask, by the name",
        "test-volume-3.nii": "+",
        "test-segmentation-3.nii": "a mask",
        "readme.txt": ".",
    },
    "MSD": {
        "imagesTr/liver_1.nii.gz": "+",
        "imagesTs/liver_132.nii.gz": "+",
        "labelsTr/liver_1.nii.gz": "by the folder's name (labelsTr)",
        "imagesTr/._liver_1.nii.gz": "macOS",
        "labelsTr/._liver_1.nii.gz": "macOS",
        ".DS_Store": ".",
        "__MACOSX/imagesTr/._liver_1.nii.gz": ".",
        "dataset.json": ".",
    },
    "nnU-Net": {
        "imagesTr/case_0000.nii.gz": "+",
        "imagesTr/case_0001.nii.gz": "further channel",
        "imagesTr/other_0000.nii.gz": "+",
        "labelsTr/case.nii.gz": "labelsTr",
        "imagesTs/last_0000.nii.gz": "+",
        "imagesTs/last_0001.nii.gz": "further channel",
        "gt_segmentations/case.nii.gz": "gt_segmentations",
    },
    "four digits that count cases": {
        "imagesTr/word_0000.nii.gz": "+",
        "imagesTr/word_0001.nii.gz": "+",
        "imagesTr/word_0002.nii.gz": "+",
        "labelsTr/word_0001.nii.gz": "labelsTr",
        "flat/amos_0000.nii.gz": "+",
        "flat/amos_0001.nii.gz": "+",
    },
    "TotalSegmentator": {
        "s0001/ct.nii.gz": "+",
        "s0001/segmentations/liver.nii.gz": "(segmentations)",
        "s0001/segmentations/spleen.nii.gz": "(segmentations)",
        "s0002/ct.nii.gz": "+",
        "s0002/ct_seg.nii.gz": "a mask",
        "s0002/liver.nii.gz": "an organ",
        "masks_of_ts/liver.nii.gz": "an organ",
        "masks_of_ts/lung_upper_lobe_left.nii.gz": "an organ",
        "masks_of_ts/vertebrae_L1.nii.gz": "an organ",
        "patient/liver.nii.gz": "+",
    },
    "KiTS, BTCV, SLIVER, AbdomenAtlas": {
        "case_00000/imaging.nii.gz": "+",
        "case_00000/segmentation.nii.gz": "a mask",
        "case_00000/instances/tumor_instance-1_annotation-1.nii.gz": "(instances)",
        "img/img0001.nii.gz": "+",
        "label/label0001.nii.gz": "(label)",
        "sliver/liver-orig001.nii": "+",
        "sliver/liver-seg001.nii": "a mask",
        "BDMAP_00000001/combined_labels.nii.gz": "a mask",
        "BDMAP_00000001/ct.nii.gz": "+",
    },
    "BIDS": {
        "sub-01/ct/sub-01_ct.nii.gz": "+",
        "sub-01/ct/sub-01_ct.json": ".",
        "derivatives/x/sub-01/sub-01_space-orig_dseg.nii.gz": "a mask",
        "derivatives/x/sub-01/sub-01_label-liver_probseg.nii.gz": "a mask",
        ".bidsignore": ".",
        ".datalad/a.nii.gz": ".",
    },
    "outputs of ours": {
        "a.nii.gz": "+",
        "a_mask.nii.gz": "a mask",
        "a_prob_liver.nii.gz": "probabilities",
        "gone_mask.nii.gz": "a mask",
        "named.nii.gz": "made by lits-infer",
        "named.json": ".",
        "p_liver.nii.gz": "made by lits-infer",
        ".partial-x1.nii.gz": "temporary",
    },
    "any case of the endings, pairs": {
        "A.NII": "+",
        "B.NII.GZ": "+",
        "C.Nii.Gz": "+",
        "d.hdr": "+",
        "d.img": ".",
        "E.HDR": "+",
        "E.IMG": ".",
        "f.img.gz": "there is no f.hdr.gz",
        "photo.hdr": "there is no photo.img",
        "scan.v2.nii": "+",
    },
    "other formats": {
        "a.nii": "+",
        "b.nrrd": "NRRD",
        "c.mha": "MetaImage",
        "d.mgz": "FreeSurfer",
        "series/1.dcm": "not DICOM",
        "e.nii.bz2": "compressed otherwise",
        "overlay.png": ".",
        "unfinished.nii.gz.part": "a copy or part",
        "a.nii~": "a copy or part",
    },
    "3D-IRCADb": {
        "3Dircadb1.1/patient.nii.gz": "+",
        "3Dircadb1.1/liver.nii.gz": "an organ",
        "3Dircadb1.1/livertumor1.nii.gz": "an organ",
    },
    "nnU-Net's results": {
        "raw/imagesTs/a_0000.nii.gz": "+",
        "results/fold_0/validation/a.nii.gz": "predicted by nnU-Net",
        "out/a.nii.gz": "predicted by nnU-Net",
        "out/predict_from_raw_data_args.json": ".",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scans_and_reasons_of_each_layout(layout: str, tmp_path: Path) -> None:
    folder, names = tmp_path / "data", LAYOUTS[layout]
    make(folder, names)
    found = find_scans(folder)
    assert within(folder, found.files) == sorted(
        (name for name, what in names.items() if what == "+"), key=Path
    )
    reasons = {one.path.relative_to(folder).as_posix(): one.why for one in found.left_out}
    for name, what in names.items():
        if len(what) > 1:
            assert what in reasons.pop(name)
    # Folders that nobody descends into have one word for all that is in them.
    assert set(reasons) <= {"__MACOSX", ".datalad"}
    planned = plan([folder])
    assert within(folder, [job.scan for job in planned]) == within(folder, found.files)
    assert {one.path for one in planned.left_out} == {one.path for one in found.left_out}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_is_calibrated_on_scans_alone(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, names = tmp_path / "data", LAYOUTS[layout]
    make(folder, names)
    with caplog.at_level(logging.INFO, "lits_export"):
        files = within(folder, scan_files([folder]))
    assert files == sorted((name for name, what in names.items() if what == "+"), key=Path)
    assert "left out" in caplog.text or not any(len(what) > 1 for what in names.values())


def test_a_folder_of_labels_holds_no_scan(tmp_path: Path) -> None:
    make(tmp_path, {"labelsTr/liver_1.nii.gz": "", "labelsTr/liver_2.nii.gz": ""})
    (job,) = plan([tmp_path / "labelsTr"])
    assert "no scan in this folder" in str(job.problem)
    assert "2 left out" in str(job.problem)
    with pytest.raises(VolumeError, match="no scan in this folder"):
        scan_files([tmp_path / "labelsTr"])


def test_a_description_says_whether_digits_are_channels(tmp_path: Path) -> None:
    names = {f"imagesTs/{case}_{n:04}.nii.gz": "" for case in "ab" for n in range(2)}
    make(tmp_path, names)
    assert len(find_scans(tmp_path).files) == 2
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "CT"}}')
    assert len(find_scans(tmp_path).files) == 4
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "CT", "1": "PET"}}')
    assert len(find_scans(tmp_path).files) == 2
    (tmp_path / "dataset.json").write_text("[" * 5000)
    assert len(find_scans(tmp_path).files) == 2


def test_training_data_of_msd_and_nnu_net(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = (
        *("imagesTr/liver_2.nii.gz", "labelsTr/liver_2.nii.gz", "imagesTr/._liver_2.nii.gz"),
        *("imagesTr/case_0000.nii.gz", "labelsTr/case.nii.gz", "imagesTs/liver_9.nii.gz"),
        *("imagesTr/word_0000.nii.gz", "labelsTr/word_0000.nii.gz"),
        *("imagesTr/volume-7.nii", "labelsTr/volume-7.nii", "Volume-8.NII", "segmentation-8.nii"),
    )
    make(tmp_path, dict.fromkeys(names, ""))
    with caplog.at_level(logging.INFO, "lits_train"):
        pairs = [(case.case_id, case.volume.name) for case in find_cases(tmp_path)]
    assert pairs == [
        ("7", "volume-7.nii"),
        ("8", "Volume-8.NII"),
        ("case", "case_0000.nii.gz"),
        ("liver_2", "liver_2.nii.gz"),
        ("word_0000", "word_0000.nii.gz"),
    ]
    assert "imagesTs/liver_9.nii.gz: neither volume-ID nor segmentation-ID" in caplog.text
    assert "macOS" in caplog.text


def test_pairs_of_masks_in_any_layout(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "run/a.nii.gz": "",
            "run/a_mask.nii.gz": "",
            "run/a_prob_liver.nii.gz": "",
            "run/deep/case_0000_mask.NII.GZ": "",
            "msd/imagesTr/a.nii.gz": "",
            "msd/labelsTr/a.nii.gz": "",
            "msd/labelsTr/case.nii.gz": "",
            "msd/labelsTr/._a.nii.gz": "",
            "mirrored/1/scan_mask.nii.gz": "",
            "mirrored/2/scan_mask.nii.gz": "",
            "truth/1/scan.nii.gz": "",
            "truth/2/scan.nii.gz": "",
            "one/a.nii.gz": "",
        },
    )
    pairs = find_pairs(tmp_path / "run", tmp_path / "msd")
    assert [(pair.case_id, pair.predicted.name, pair.reference.parent.name) for pair in pairs] == [
        ("a", "a_mask.nii.gz", "labelsTr"),
        ("case", "case_0000_mask.NII.GZ", "labelsTr"),
    ]
    pairs = find_pairs(tmp_path / "mirrored", tmp_path / "truth")
    assert [pair.case_id for pair in pairs] == ["1/scan", "2/scan"]
    make(tmp_path, {"new/imagesTs/a_0000.nii.gz": "", "new/a_mask.nii.gz": ""})
    (pair,) = find_pairs(tmp_path / "new", tmp_path / "run/../one", scans=True)
    assert pair.predicted.name == "a_0000.nii.gz"


def test_folders_with_the_ending_of_a_file_are_searched(tmp_path: Path) -> None:
    make(
        tmp_path, {"volume-51.nii/volume-51.nii": "", "segmentation-51.nii/segmentation-51.nii": ""}
    )
    assert within(tmp_path, find_scans(tmp_path).files) == ["volume-51.nii/volume-51.nii"]
    assert list(find_files(tmp_path)) == ["51"]
