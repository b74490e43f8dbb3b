"""The trainings behind the bundled model and their folds, on a small stand-in for the data."""

import json
import math
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
from lits_tools.bundled.folds.__main__ import main
from lits_tools.bundled.folds.figures import worst_slices
from lits_tools.bundled.folds.left_out import gmac
from lits_tools.bundled.folds.table import (
    SCORES,
    Judged,
    by_case,
    differences,
    estimate,
    summary,
)
from lits_tools.bundled.settings import (
    BASELINE_NAME,
    DEFAULT_FILE,
    VARIANTS,
    TrialData,
    variant,
)
from lits_tools.bundled.trial import Trial
from lits_train.network.checkpoint import LAST_NAME
from lits_train.prepared.slices import open_cases
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import BASELINE, DEFAULT, LESION_UNKNOWN
from lits_train.settings.run import METRICS_NAME
from lits_train.validation.case_scores import SEARCHES, CaseScores, Counts

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


def test_folds_leave_every_case_out_once_and_patients_whole() -> None:
    every = [case_id for fold in DATA.folds for case_id in fold]
    assert len(every) == len(set(every)) == 31
    of_case = {"6": 0, "10": 0, "14": 1, "15": 1, "22": 2, "23": 2}  # of three patients
    for case_id, fold in of_case.items():
        assert case_id in DATA.folds[fold]


@pytest.mark.slow
def test_folds_are_trained_scored_and_drawn(shared: Path, work: Path) -> None:
    trial = Trial(DATA, shared, work, "default-0", SMALL, ("44", "1003"))
    facts = trial.train()
    assert facts["epochs"] == SMALL.epochs and facts["minutes"] > 0
    described = work / "trial.toml"
    text = DEFAULT_FILE.read_text()
    start, end = text.index("folds = ["), text.index("# Epochs of the bundled")
    described.write_text(text[:start] + 'folds = [["44", "1003"], ["28"]]\n' + text[end:])
    arguments = [str(shared), str(work), "default", "--data", str(described)]
    result = CliRunner().invoke(main, ["score", *arguments, "--worst", "2"])
    assert result.exit_code == 0, result.output
    assert (work / "default/scores.md").read_text().strip() == result.stdout.strip()
    assert "| 44 | " in result.stdout and "| 28 | " not in result.stdout, "28 is of another fold"
    inference = Inference.from_json(json.loads((work / "default/choice.json").read_text()))
    assert inference == Inference((0.5, 0.5)), "two cases choose nothing"
    for name, width in (("curves", 1000), ("worst", 1000)):
        with Image.open(work / f"default/{name}.png") as picture:
            assert picture.width > width
    shutil.copytree(work / "default-0", work / "same-0")
    names = [*arguments[:3], "same", *arguments[3:], "--same-settings"]
    compared = CliRunner().invoke(main, ["compare", *names])
    lines = compared.stdout.splitlines()
    assert lines[2].startswith("| default | ") and lines[3].startswith("| same | ")
    assert f"default: {inference.describe()}" in lines
    assert lines[-1].startswith("| same | +0.000") and "0 better, 0 worse" in lines[-1]
    missing = CliRunner().invoke(main, ["score", *arguments[:2], "old", *arguments[3:]])
    assert isinstance(missing.exception, DatasetError) or missing.exit_code == 1
    assert trial.export(inference).exists()


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
    epochs = json.loads((folder / METRICS_NAME).read_text().splitlines()[-1])["epoch"]
    more = replace(trial.recipe, epochs=epochs + 1)
    assert replace(trial, recipe=more, resume=True).train()["epochs"] == epochs + 1
    assert steps_taken(folder) > step > 0


def steps_taken(run: Path) -> int:
    state = torch.load(run / LAST_NAME, weights_only=True)
    return int(state["resume"]["progress"]["step"])


def test_every_variant_differs_from_the_default_in_its_own_way() -> None:
    recipes = {name: variant(name, DATA.recipe) for name in (*VARIANTS, BASELINE_NAME)}
    assert len(set(recipes.values())) == len(recipes)
    assert recipes["default"].epochs == DATA.recipe["epochs"]
    small = gmac(replace(DEFAULT, size=64, decoder_channels=(16, 16, 16, 16)))
    assert 0 < small < gmac(replace(DEFAULT, size=64)) < gmac(replace(BASELINE, size=64))


def test_what_cannot_be_trained_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", str(tmp_path), str(tmp_path / "out"), "no such"])
    assert result.exit_code == 2 and "one-slice" in result.output


NO_CHOICE = Inference((0.5, 0.5))


def test_a_setting_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    where = ["train", str(tmp_path), str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*where, "--set", "epoch=3"])
    assert result.exit_code == 2 and "epoch" in result.output
    assert not (tmp_path / "out").exists()


def scores_of(case_id: str, right: int) -> CaseScores:
    voxels = np.tile([[100, 90], [100, right]], (len(SEARCHES), 1, 1)).astype(np.int64)
    counts = Counts(voxels, [(0, 1), *[(0, 0)] * 2, (1, 1)], [(0, 0)] * 4)
    return CaseScores(case_id, True, ("liver", "lesion"), 1.0, (100, 100), (counts,))


def test_intervals_draw_all_scans_of_a_patient_together() -> None:
    cases = [scores_of(str(number), 20 * number) for number in range(5)]
    lesion = SCORES["lesion Dice"](cases, 0)
    apart, one = estimate(lesion, cases, {}), dict.fromkeys("01234", "A")
    assert apart.value == pytest.approx(0.4) and 0 <= apart.low < 0.4 < apart.high <= 0.8
    assert math.isnan(estimate(lesion, cases, one).low), "one patient has no spread"
    pairs = estimate(lesion, cases, {"0": "A", "1": "A", "3": "B", "4": "B"})
    assert pairs.value == pytest.approx(0.4)
    assert pairs.high - pairs.low > apart.high - apart.low
    judged = Judged("mine", tuple(cases), 0, NO_CHOICE, 0.4)
    header, _, line = summary([judged], {}).splitlines()
    assert header.count("|") == line.count("|")
    assert "| 0.900 ± 0.000 (0.900 to 0.900) | 0.400 ± 0.283 (" in line
    assert "| 0/5 | 0/0 | 0/0 | 5/5 | 0.40 | 5 |" in line
    assert [row.split()[1] for row in by_case(judged).splitlines()[2:]] == list("01234")


def test_differences_are_those_of_the_cases_that_both_have() -> None:
    first = Judged("first", tuple(scores_of(str(n), 20 * n) for n in range(4)), 0, NO_CHOICE)
    other = Judged(
        "other", tuple(scores_of(str(n), 20 * n + 10) for n in range(1, 9)), 0, NO_CHOICE
    )
    line = differences(first, [other], {}).splitlines()[2]
    assert line == (
        "| other | +0.000 (+0.000 to +0.000), 0 better, 0 worse "
        "| +0.100 (+0.100 to +0.100), 3 better, 0 worse |"
    )
    one_patient = differences(first, [other], dict.fromkeys("0123", "A"))
    assert "| +0.100, 3 better" in one_patient
    assert "| - | - |" in differences(first, [Judged("none", (), 0, NO_CHOICE)], {})


def test_worst_slices_lie_apart() -> None:
    labels_gt, labels_pred = np.zeros((2, 30, 8, 8), np.uint8)
    labels_gt[10:13, :4] = 2
    labels_pred[20, :2] = 2
    chosen = worst_slices(labels_gt.astype(np.float32), labels_gt, labels_pred)
    assert [one.number for one in chosen] == [10, 12, 20]
    assert chosen[0].hu.shape == (8, 8)
    assert not worst_slices(labels_gt.astype(np.float32), labels_gt, labels_gt)
