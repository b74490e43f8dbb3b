"""Cross-validation by patient: fold trainings, their scores on left-out cases, tables and pictures.

    python -m lits_tools.bundled.folds train SHARED OUT             # OUT/default-0, -1, -2; resumes
    python -m lits_tools.bundled.folds train SHARED OUT one-slice   # another recipe, same folds
    python -m lits_tools.bundled.folds score SHARED OUT             # tables, choice.json, figures
    python -m lits_tools.bundled.folds compare SHARED OUT default one-slice old
    python -m lits_tools.bundled.folds model SHARED OUT model.onnx  # a file, on the same cases

The folds are those of `trial.toml`. A patient who is left out is left out under every name.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE, EXISTING_FOLDER, NEW_FOLDER
from lits_runtime.errors import DatasetError
from lits_runtime.files.atomic import atomic_path
from lits_tools.bundled.settings import (
    BASELINE_NAME,
    VARIANTS,
    TrialData,
    data_option,
    variant,
)

if TYPE_CHECKING:
    from lits_tools.bundled.folds.table import Judged
    from lits_train.validation.case_scores import CaseScores

logger = logging.getLogger(__name__)

CHOICE_NAME = "choice.json"
"""What the left-out cases of all folds choose; `rebuild --choice` reads it."""


@click.group()
def main() -> None:
    """Cross-validation by patient on the folds of trial.toml."""


@main.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=NEW_FOLDER)
@click.argument("name", default="default")
@click.option("--fold", "only", type=click.IntRange(0), help="One fold.  [default: all]")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a setting of the recipe, such as epochs.  Repeatable.",
)
@data_option
@shared_options
def train(
    shared: Path,
    output: Path,
    name: str,
    only: int | None,
    device: str,
    settings: tuple[str, ...],
    data: Path,
) -> None:
    """Train the folds of recipe NAME in OUTPUT on the data in SHARED; a run there is resumed."""
    from lits_tools.bundled.trial import Trial
    from lits_train.cli.recipe_options import overridden
    from lits_train.network.checkpoint import LAST_NAME

    described = TrialData.read(data)
    if name not in (*VARIANTS, BASELINE_NAME):
        raise click.UsageError(f"{name}: expected one of {', '.join((*VARIANTS, BASELINE_NAME))}")
    recipe, _ = overridden(variant(name, described.recipe), None, [*settings])
    for fold, case_ids in enumerate(described.folds):
        if only not in (None, fold):
            continue
        run = f"{name}-{fold}"
        trial = Trial(
            described,
            shared,
            output,
            run,
            recipe,
            tuple(case_ids),
            device=device,
            resume=(output / run / LAST_NAME).exists(),
        )
        logger.info("%s: %s", run, trial.train())


@main.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=EXISTING_FOLDER)
@click.argument("name", default="default")
@click.option("--worst", type=click.IntRange(0), default=10, help="Cases to draw.")
@data_option
@shared_options
def score(shared: Path, output: Path, name: str, worst: int, data: Path) -> None:
    """Score the folds of NAME that OUTPUT holds on their left-out cases, at full resolution.

    Writes OUTPUT/NAME/: choice.json, scores.md, curves.png and worst.png. Scores of a case are kept
    in its run, and computed anew if the run has gone on.
    """
    from lits_tools.bundled.folds.figures import draw_curves

    described = TrialData.read(data)
    runs = _runs(output, name, described)
    one = _interpolated(_judged(output, name, described), output, runs, described)
    folder = output / name
    folder.mkdir(exist_ok=True)
    text = _page(one, _patients(described, shared))
    _write(folder / "scores.md", text)
    _write(folder / CHOICE_NAME, json.dumps(one.inference.to_json(), indent=1) + "\n")
    draw_curves({run.name: run for run in runs.values()}, folder / "curves.png")
    if worst:
        _draw_worst(one, output, runs, described, worst, folder / "worst.png")
    click.echo(text)


@main.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=EXISTING_FOLDER)
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--same-settings",
    is_flag=True,
    help="Score all with what the first chooses, such as the least lesion volume.",
)
@data_option
@shared_options
def compare(
    shared: Path, output: Path, names: tuple[str, ...], same_settings: bool, data: Path
) -> None:
    """One line for each of NAMES, each with what its own folds choose.

    Then the difference of each from the first, on the cases that both were scored on.
    """
    from lits_tools.bundled.folds.table import differences, summary

    described = TrialData.read(data)
    judged = [_judged(output, name, described) for name in names]
    first = judged[0]
    if same_settings:
        judged = [
            replace(one, candidate=first.candidate, inference=first.inference) for one in judged
        ]
    patients = _patients(described, shared)
    click.echo(summary(judged, patients))
    for one in judged[:1] if same_settings else judged:
        click.echo(f"\n{one.name}: {one.inference.describe()}")
    if len(judged) > 1:
        click.echo("\n" + differences(first, judged[1:], patients))


@main.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=EXISTING_FOLDER)
@click.argument("model", type=EXISTING_FILE)
@data_option
@shared_options
def model(shared: Path, output: Path, model: Path, data: Path) -> None:
    """Score a MODEL file on the cases of all folds, whether or not it was trained on them."""
    from lits_tools.bundled.folds.left_out import labeller_of
    from lits_tools.bundled.folds.left_out import score as score_cases

    described = TrialData.read(data)
    case_ids = [case_id for fold in described.folds for case_id in fold]
    folder = output / f"{model.stem}-scores"
    scores = score_cases(labeller_of(model), output / "sources", case_ids, folder)
    if scores is not None:
        one = _chosen(model.name, scores.cases, None)
        click.echo(_page(one, _patients(described, shared)))


def _runs(output: Path, name: str, data: TrialData) -> dict[int, Path]:
    """The runs of a recipe by fold, as far as they have a network."""
    from lits_train.network.checkpoint import LAST_NAME

    runs = {fold: output / f"{name}-{fold}" for fold in range(len(data.folds))}
    there = {fold: run for fold, run in runs.items() if (run / LAST_NAME).exists()}
    if not there:
        raise DatasetError(f"{output}: no fold of {name} is trained here, such as {name}-0")
    return there


def _judged(output: Path, name: str, data: TrialData) -> "Judged":
    """The left-out cases of all trained folds of a recipe, and what they choose."""
    from lits_tools.bundled.folds.left_out import FOLDER, gmac, labeller_of
    from lits_tools.bundled.folds.left_out import score as score_cases
    from lits_train.network.checkpoint import LAST_NAME, load_checkpoint

    cases: list[CaseScores] = []
    sources = output / "sources"
    for fold, run in _runs(output, name, data).items():
        scores = score_cases(labeller_of(run), sources, data.folds[fold], run / FOLDER)
        cases += scores.cases if scores is not None else ()
        recipe = load_checkpoint(run / LAST_NAME).recipe
    return _chosen(name, cases, gmac(recipe))


def _interpolated(one: "Judged", output: Path, runs: dict[int, Path], data: TrialData) -> "Judged":
    """The same with the distance of the interpolation, and what it was chosen by."""
    from lits_tools.bundled.folds.left_out import interpolation, labeller_of
    from lits_train.validation.interpolation import choose_interpolation

    sources = output / "sources"
    cases = tuple(
        case
        for fold, run in runs.items()
        for case in interpolation(labeller_of(run), sources, data.folds[fold], run, one.inference)
    )
    inference = replace(one.inference, interpolation_mm=choose_interpolation(cases))
    return replace(one, inference=inference, interpolated=cases)


def _chosen(name: str, cases: "Iterable[CaseScores]", cost: float | None) -> "Judged":
    from lits_tools.bundled.folds.table import Judged
    from lits_train.validation.candidates import candidates
    from lits_train.validation.choose import choose

    scored = tuple(cases)
    compared = candidates(("liver", "lesion"), (0.5, 0.5))
    return Judged(name, scored, *choose(scored, compared), cost)


def _page(one: "Judged", patients: dict[str, str]) -> str:
    """Summary, choice and cases of one recipe, in Markdown."""
    from lits_tools.bundled.folds.table import by_case, summary
    from lits_train.validation.candidates import candidates
    from lits_train.validation.tables import choice_table, interpolation_table

    compared = candidates(("liver", "lesion"), (0.5, 0.5))
    choice = choice_table(one.cases, compared, one.candidate)
    parts = [summary([one], patients), f"Chosen: {one.inference.describe()}"]
    if one.interpolated:
        choice += "\n" + interpolation_table(one.interpolated)
    return "\n\n".join([*parts, f"```{choice}\n```", by_case(one)]) + "\n"


def _patients(data: TrialData, shared: Path) -> dict[str, str]:
    from lits_tools.bundled.data import patients

    return patients(data, shared)


def _draw_worst(
    one: "Judged",
    output: Path,
    runs: dict[int, Path],
    data: TrialData,
    count: int,
    path: Path,
) -> None:
    """Pictures of the cases with the worst lesions, each from the fold that left it out."""
    from lits_tools.bundled.folds.figures import draw_worst, worst_slices
    from lits_tools.bundled.folds.left_out import labeller_of, segmented
    from lits_tools.bundled.folds.table import worst_first

    fold_of = {case_id: fold for fold in runs for case_id in data.folds[fold]}
    rows = {}
    for case in worst_first(one)[:count]:
        labeller = labeller_of(runs[fold_of[case.case_id]])
        volume = segmented(labeller, output / "sources", case.case_id, one.inference)
        lesion, false_ml = case.dice(one.candidate)["lesion"], case.false_ml(one.candidate)
        score = f"{false_ml:.1f} ml false" if lesion is None else f"lesion Dice {lesion:.2f}"
        rows[f"{case.case_id}: {score}"] = worst_slices(*volume)
    draw_worst(rows, path)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
