"""No case ID, file name or patient in a model file, whatever the checkpoint and the report hold."""

import json
from pathlib import Path

import pytest

from lits_export.export import ExportSettings, _metadata
from lits_export.lowering.training_facts import scan_count, shareable_parity, shareable_training
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.description import describe
from lits_runtime.model.metadata import ModelMetadata
from lits_train.network.checkpoint import Checkpoint
from lits_train.settings.recipe import RECIPES
from support.networks.tiny_models import tiny_model

TRAINING = {
    "cases": ["anna-1970", "ben-1980", "cara-1990"],
    "validation_cases": ["dora-2000"],
    "skipped_slices": {"anna-1970": [3, 4]},
    "case_dice": {"dora-2000": 0.9},
    "starting_weights": "/home/dora-2000/weights.pth",
    "note": "with anna-1970",
    "data_fingerprint": "7d84762b",
    "git_revision": "e47d6e4",
    "epochs": 60,
    "loss": float("nan"),
    "validation_dice": {"liver": 0.93, "lesion": float("nan")},
}
REPORT = {
    "worst_slab": "anna-1970.nii.gz slices 8 to 15",
    "classes": {"liver": {"dice": 0.99}},
    "others": [{"worst_slab": "dora-2000.nii slices 0 to 7"}, {"worst_slab": "37 x 53"}],
}
SCANS = [Path("/ct/anna-1970.nii.gz"), Path("/ct/dora-2000.nii")]


def test_counts_and_a_fingerprint_are_all_that_is_told_of_the_data() -> None:
    parity = {**shareable_parity(REPORT, SCANS), "check_scans": scan_count(SCANS)}
    checkpoint = Checkpoint(RECIPES["default"], {}, TRAINING, sha256="0" * 64)
    text = _metadata(checkpoint, ExportSettings(check_on=tuple(SCANS)), parity).to_json()
    for name in ("anna", "ben", "cara", "dora", "1970", "1980", "1990", "2000", "/ct", "home"):
        assert name not in text
    metadata = ModelMetadata.from_json(text)
    assert metadata.training == {
        "cases": 3,
        "validation_cases": 1,
        "skipped_slices": 1,
        "case_dice": 1,
        "starting_weights": "file",
        "data_fingerprint": "7d84762b",
        "git_revision": "e47d6e4",
        "epochs": 60,
        "loss": None,
        "validation_dice": {"liver": 0.93, "lesion": None},
    }
    assert metadata.parity["worst_slab"] == "scan 1 slices 8 to 15"
    assert [other["worst_slab"] for other in metadata.parity["others"]] == [
        "scan 2 slices 0 to 7",
        "37 x 53",
    ]


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_starting_weights_without_a_file_are_told(weights: str) -> None:
    assert shareable_training({"starting_weights": weights}) == {"starting_weights": weights}


def test_a_file_of_the_first_edition_with_names_and_a_score_of_nan_is_read(tmp_path: Path) -> None:
    training = {"cases": ["28", "44"], "validation_dice": {"lesion": float("nan")}}
    parity = {"check_scans": ["volume-44.nii.gz"]}
    (tmp_path / "old.onnx").write_bytes(tiny_model({"training": training, "parity": parity}))
    description = describe(tmp_path / "old.onnx")
    assert description.file.metadata.training["cases"] == ["28", "44"]
    assert description.file.metadata.training["validation_dice"] == {"lesion": None}
    assert "volume-44.nii.gz" in description.text()
    json.dumps(description.to_json(), allow_nan=False)


def test_the_bundled_model_names_no_case() -> None:
    metadata = describe(bundled_model()).file.metadata
    assert isinstance(metadata.training["cases"], int)
    text = json.dumps([metadata.training, metadata.parity])
    assert not any(name in text for name in ("msd-", "volume-", ".nii"))
