"""The trainings behind the bundled model and the ablation, on a small stand-in for the data."""

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
from lits_tools.bundled import data as trial_data
from lits_tools.bundled.ablation import BASE, VARIANTS, folder_name, main
from lits_tools.bundled.ablation_table import gmac, markdown, rows
from lits_tools.bundled.settings import TrialData
from lits_tools.bundled.trial import SCORES_NAME, Trial
from lits_train.network.checkpoint import LAST_NAME, METRICS_NAME
from lits_train.prepared.slices import open_cases
from lits_train.settings.recipe import BASELINE, DEFAULT, LESION_UNKNOWN

pytestmark = pytest.mark.slow

DATA = replace(TrialData.read(), phantoms=(100,))
TABLE = "lits,patient,msd_slices_case\n6,B,10084\n10,B,10003\n11,,10012\n"
SMALL = replace(DEFAULT, size=32, decoder_channels=(8, 8), batch_size=8, epochs=2, epoch_slices=16)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in place of the public scans, and single slices of two patients."""
    folder = tmp_path_factory.mktemp("shared")
    for scan, seed in zip(DATA.scans, range(3), strict=True):
        place, _, case_id = scan.partition("/")
        phantom = make_phantom(seed, matrix=64, slices=8, lesions=2)
        write_phantom(folder / place, case_id, phantom)
    for kind in ("images", "masks"):
        (folder / "msd_slices" / kind).mkdir(parents=True)
    grey = np.full((256, 256), 20, np.uint8)
    liver = np.zeros_like(grey)
    liver[80:160, 40:120] = 1
    grey[liver == 1] = 110
    grey[100:120, 60:80] = 60  # an unmarked lesion
    for patient in ("10067", "3"):
        Image.fromarray(grey).save(folder / f"msd_slices/images/{patient}_5.png")
        Image.fromarray(liver).save(folder / f"msd_slices/masks/{patient}_5.png")
    return folder


@pytest.fixture(scope="module")
def work(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose data are prepared, with a smaller phantom than usual."""
    folder = tmp_path_factory.mktemp("work")
    phantom = make_phantom(100, matrix=64, slices=8, lesions=2)
    write_phantom(folder / "sources", 100, phantom, gzip=False)
    trial_data.build(DATA, shared, folder, SMALL.size)
    return folder


def test_data_are_built_once_and_doubtful_liver_is_marked(shared: Path, work: Path) -> None:
    prepared = work / f"prepared-{SMALL.size}"
    cases = {case.case_id: case for case in open_cases(prepared)}
    assert cases.keys() == {"44", "28", "1003", "100", "msd-10067", "msd-3"}
    assert [name for name, case in cases.items() if case.liver_only] == ["28"]
    labels = np.load(prepared / "labels-msd-3.npy")
    assert set(np.unique(labels)) == {0, 1, LESION_UNKNOWN}
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert trial_data.build(DATA, shared, work, SMALL.size) == prepared
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


@pytest.mark.slow
def test_further_scans_and_slices_without_liver_are_used_if_present(
    shared: Path, tmp_path: Path
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
    prepared = trial_data.build(DATA, more, tmp_path, 32)
    cases = {case.case_id: case for case in open_cases(prepared)}
    assert cases.keys() - {"44", "28", "1003", "100", "msd-10067", "msd-3"} == {"6", "negative-006"}
    assert cases["negative-006"].label_counts.tolist() == [[32 * 32, 0, 0]]


def test_a_patient_is_left_out_under_all_names(tmp_path: Path) -> None:
    def without(case_id: str) -> set[str]:
        return trial_data.without([case_id], DATA, tmp_path)

    assert without("44") == {"44", "msd-10067"} | negatives("44", "msd-10067")
    (tmp_path / "lits_train").mkdir()
    (tmp_path / "lits_train/table.csv").write_text(TABLE)
    one = {"6", "10", "msd-10084", "msd-10003"}
    assert without("6") == one | negatives(*one)
    assert without("11") >= {"11", "msd-10012", "negative-011"}
    (tmp_path / "lits_train/table.csv").write_text("case,name\n1,2\n")
    with pytest.raises(DatasetError, match=r"table\.csv: not a table of LiTS cases"):
        without("6")


def negatives(*names: str) -> set[str]:
    return {f"negative-{name.zfill(3)}" for name in names}


@pytest.mark.parametrize("text", ["scans = [", "scans = []", "cases = 3"])
def test_a_file_that_does_not_describe_the_data_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial.toml").write_text(text)
    with pytest.raises(DatasetError, match=r"trial\.toml: not the data of a trial"):
        TrialData.read(tmp_path / "trial.toml")


@pytest.mark.slow
def test_a_trial_trains_exports_and_scores_and_the_table_shows_it(shared: Path, work: Path) -> None:
    name = folder_name("default", 0)
    scores = Trial(DATA, shared, work, name, SMALL, DATA.unseen, precision="fp32").carry_out()
    assert scores == json.loads((work / name / SCORES_NAME).read_text())
    assert scores["epochs"] == SMALL.epochs and scores["minutes"] > 0
    assert scores["cases"].keys() == {"44", "28", "1003"}
    assert all(0 <= case["liver_dice"] <= 1 for case in scores["cases"].values())
    again = folder_name("default", 1)
    shutil.copytree(work / name, work / again)
    changed = json.loads((work / again / SCORES_NAME).read_text())
    changed["cases"]["44"]["lesion_ml"] += 200
    (work / again / SCORES_NAME).write_text(json.dumps(changed))
    names = {"default": [name, again], "no skips": [folder_name("no skips", 0)]}
    row, other = rows(work, names, DATA)
    assert row.variant == "default" and row.slices_per_s > 0
    assert row.false_lesion_ml == scores["cases"]["1003"]["lesion_ml"]
    assert row.lesion_ml_gt == scores["cases"]["44"]["lesion_ml_gt"] > 0
    header, rule, line = markdown([row, other]).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| default | ") and line.endswith(" | 2 |")
    low = scores["cases"]["44"]["lesion_ml"]
    assert f"| {low + 100:.0f} ({low:.0f} to {low + 200:.0f}) |" in line
    with pytest.raises(DatasetError, match="no variant is finished here"):
        rows(work, {"no skips": [folder_name("no skips", 0)]}, DATA)


@pytest.mark.slow
def test_training_ends_with_its_minutes(shared: Path, work: Path) -> None:
    recipe = replace(SMALL, epochs=10_000)
    trial = Trial(DATA, shared, work, "short", recipe, minutes=1e-9)
    assert trial.train()["epochs"] == 0, "the minutes were over before the first step"


@pytest.mark.slow
def test_an_interrupted_trial_keeps_its_steps(shared: Path, work: Path) -> None:
    trial = Trial(DATA, shared, work, "interrupted", replace(SMALL, epochs=10_000))
    folder = work / trial.name

    def interrupt() -> None:
        while not (folder / METRICS_NAME).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        trial.train()
    step = steps_taken(folder)
    assert replace(trial, resume=True, minutes=1e-9).train()["epochs"] >= 1
    assert steps_taken(folder) == step > 0


def steps_taken(run: Path) -> int:
    state = torch.load(run / LAST_NAME, weights_only=True)
    return int(state["resume"]["progress"]["step"])


def test_every_variant_differs_from_the_default_in_its_own_way() -> None:
    recipes = {name: replace(DEFAULT, **BASE | changes) for name, changes in VARIANTS.items()}
    assert len(set(recipes.values())) == len(recipes)
    small = gmac(replace(DEFAULT, size=64, decoder_channels=(16, 16, 16, 16)))
    assert 0 < small < gmac(replace(DEFAULT, size=64)) < gmac(replace(BASELINE, size=64))


@pytest.mark.parametrize(
    ("variant", "expected"), [("no such", "no skips"), ("baseline", 'train "default" first')]
)
def test_what_cannot_be_trained_is_a_usage_error(
    tmp_path: Path, variant: str, expected: str
) -> None:
    result = CliRunner().invoke(main, [str(tmp_path), str(tmp_path / "out"), variant])
    assert result.exit_code == 2 and expected in result.output
