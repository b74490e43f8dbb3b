"""The trainings behind the bundled model and the ablation, on a small stand-in for the scans."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from lits_runtime.errors import DatasetError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_tools.bundled import data as bundled_data
from lits_tools.bundled.ablation import BASE, VARIANTS, folder_name, main
from lits_tools.bundled.ablation_table import gmac, rows, written
from lits_tools.bundled.trial import SCORES_NAME, Trial
from lits_train.network.checkpoint import LAST_NAME, METRICS_NAME
from lits_train.prepared.slices import open_cases
from lits_train.settings.recipe import BASELINE, DEFAULT, LESION_UNKNOWN

pytestmark = pytest.mark.slow

TABLE = "lits,patient,msd_slices_case\n6,B,10084\n10,B,10003\n11,,10012\n"
SMALL = replace(DEFAULT, size=32, decoder_channels=(8, 8), batch_size=8, epochs=2, epoch_slices=16)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in the place of the public scans, and of two patients' slices."""
    folder = tmp_path_factory.mktemp("shared")
    for scan, seed in zip(bundled_data.SCANS, range(3), strict=True):
        place, _, case_id = scan.partition("/")
        (folder / place).mkdir(exist_ok=True)
        phantom = make_phantom(seed, matrix=64, slices=8, lesions=2)
        for path in write_phantom(folder / place, seed, phantom):
            path.rename(path.with_name(path.name.replace(f"-{seed}.", f"-{case_id}.")))
    for kind in ("images", "masks"):
        (folder / "msd_slices" / kind).mkdir(parents=True)
    grey = np.full((256, 256), 20, np.uint8)
    liver = np.zeros_like(grey)
    liver[80:160, 40:120] = 1
    grey[liver == 1] = 110
    grey[100:120, 60:80] = 60  # a lesion that nobody marked
    for patient in ("10067", "3"):
        Image.fromarray(grey).save(folder / f"msd_slices/images/{patient}_5.png")
        Image.fromarray(liver).save(folder / f"msd_slices/masks/{patient}_5.png")
    return folder


@pytest.fixture
def few_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_data, "PHANTOMS", range(100, 101))


def test_data_is_built_once_and_says_what_nobody_marked(
    shared: Path, few_phantoms: None, tmp_path: Path
) -> None:
    prepared = bundled_data.build(shared, tmp_path, 32)
    cases = {case.case_id: case for case in open_cases(prepared)}
    assert cases.keys() == {"44", "28", "1003", "100", "msd-10067", "msd-3"}
    assert [name for name, case in cases.items() if case.liver_only] == ["28"]
    labels = np.load(prepared / "labels-msd-3.npy")
    assert set(np.unique(labels)) == {0, 1, LESION_UNKNOWN}
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert bundled_data.build(shared, tmp_path, 32) == prepared
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_further_scans_and_slices_without_liver_are_taken_where_they_are(
    shared: Path, few_phantoms: None, tmp_path: Path
) -> None:
    more = tmp_path / "shared"
    shutil.copytree(shared, more)
    (more / "lits_train").mkdir()
    for kind in ("volume", "segmentation"):
        file = more / f"lits/{kind}-44.nii.gz"
        shutil.copy(file, more / f"lits_train/{kind}-6.nii.gz")
    (more / "lits_train/table.csv").write_text(TABLE)
    shutil.copytree(more / "msd_slices", more / "lits_negatives")
    for file in (more / "lits_negatives").rglob("*.png"):
        Image.fromarray(np.zeros((256, 256), np.uint8)).save(file.with_name("006_10.png"))
        file.unlink()
    prepared = bundled_data.build(more, tmp_path, 32)
    cases = {case.case_id: case for case in open_cases(prepared)}
    assert cases.keys() - {"44", "28", "1003", "100", "msd-10067", "msd-3"} == {"6", "negative-006"}
    assert cases["negative-006"].label_counts.tolist() == [[32 * 32, 0, 0]]


def test_a_patient_is_left_out_under_all_names(tmp_path: Path) -> None:
    assert bundled_data.without(["44"], tmp_path) == {"44", "msd-10067"} | negatives(
        "44", "msd-10067"
    )
    (tmp_path / "lits_train").mkdir()
    (tmp_path / "lits_train/table.csv").write_text(TABLE)
    one = {"6", "10", "msd-10084", "msd-10003"}
    assert bundled_data.without(["6"], tmp_path) == one | negatives(*one)
    assert bundled_data.without(["11"], tmp_path) >= {"11", "msd-10012", "negative-011"}
    (tmp_path / "lits_train/table.csv").write_text("case,name\n1,2\n")
    with pytest.raises(DatasetError, match=r"table\.csv: not a table of LiTS cases"):
        bundled_data.without(["6"], tmp_path)


def negatives(*names: str) -> set[str]:
    return {f"negative-{name.zfill(3)}" for name in names}


def test_a_trial_trains_exports_and_scores_and_the_table_shows_it(
    shared: Path, few_phantoms: None, tmp_path: Path
) -> None:
    name = folder_name("default", 0)
    trial = Trial(shared, tmp_path, name, SMALL, ("44", "1003"), precision="fp32")
    told = trial.carry_out()
    assert told == json.loads((tmp_path / name / SCORES_NAME).read_text())
    assert told["epochs"] == 2 and told["minutes"] > 0
    assert told["cases"].keys() == {"44", "28", "1003"}
    assert all(0 <= case["liver_dice"] <= 1 for case in told["cases"].values())
    again = folder_name("default", 1)
    shutil.copytree(tmp_path / name, tmp_path / again)
    scores = json.loads((tmp_path / again / SCORES_NAME).read_text())
    scores["cases"]["44"]["lesion_ml"] += 200
    (tmp_path / again / SCORES_NAME).write_text(json.dumps(scores))
    names = {"default": [name, again], "no skips": [folder_name("no skips", 0)]}
    row, other = rows(tmp_path, names)
    assert row.variant == "default" and row.slices_per_s > 0
    assert row.false_ml_1003 == told["cases"]["1003"]["lesion_ml"]
    header, rule, line = written([row, other]).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| default | ") and line.endswith(" | 2 |")
    low = told["cases"]["44"]["lesion_ml"]
    assert f"| {low + 100:.0f} ({low:.0f} to {low + 200:.0f}) |" in line
    with pytest.raises(DatasetError, match="none of the variants is done"):
        rows(tmp_path, {"no skips": [folder_name("no skips", 0)]})
    short = Trial(
        shared, tmp_path, "short", replace(SMALL, epochs=10_000), precision="fp32", minutes=1e-9
    )
    assert short.carry_out()["epochs"] == 0, "the minutes were over before the first step"


def test_an_interrupted_trial_keeps_its_steps(
    shared: Path, few_phantoms: None, tmp_path: Path
) -> None:
    trial = Trial(shared, tmp_path, "run", replace(SMALL, epochs=10_000), precision="fp32")

    def interrupt() -> None:
        while not (tmp_path / "run" / METRICS_NAME).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        trial.carry_out()
    step = steps_taken(tmp_path / "run")
    told = replace(trial, resume=True, minutes=1e-9).carry_out()
    assert told["epochs"] >= 1
    assert steps_taken(tmp_path / "run") == step > 0


def steps_taken(run: Path) -> int:
    state = torch.load(run / LAST_NAME, weights_only=True)
    return int(state["resume"]["progress"]["step"])


def test_every_variant_differs_from_the_default_in_its_own_way() -> None:
    recipes = {name: replace(DEFAULT, **BASE | changes) for name, changes in VARIANTS.items()}
    assert len(set(recipes.values())) == len(recipes)
    small = gmac(replace(DEFAULT, size=64, decoder_channels=(16, 16, 16, 16)))
    assert 0 < small < gmac(replace(DEFAULT, size=64)) < gmac(replace(BASELINE, size=64))


@pytest.mark.parametrize(("variant", "told"), [("no such", "no skips"), ("seed", "default")])
def test_what_cannot_be_trained_is_a_usage_error(tmp_path: Path, variant: str, told: str) -> None:
    result = CliRunner().invoke(main, [str(tmp_path), str(tmp_path / "out"), variant])
    assert result.exit_code == 2 and told in result.output
