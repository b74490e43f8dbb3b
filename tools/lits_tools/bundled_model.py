"""Rebuild the bundled model, or score its recipe on a case that it does not train on.

    python -m lits_tools.bundled_model SHARED_DATA OUT               # OUT/all/model.onnx
    python -m lits_tools.bundled_model SHARED_DATA OUT --without 44  # scores on case 44, not seen

The same command on the same machine and versions gives the same file.
"""

import json
import logging
from pathlib import Path

import click

from lits_runtime.command import Command, shared_options

logger = logging.getLogger(__name__)

LICENCE = (
    "Research only, non-commercial: trained on 3D-IRCADb-01 (CC BY-NC-ND 3.0), CHAOS (CC BY-NC-SA "
    "4.0) and slices of MSD Task03 (CC BY-SA 4.0)"
)
VALIDATION_EVERY = 10
"""Each so manieth MSD patient and phantom 100 choose the epoch; scored cases never do."""
EPOCHS = 30
EPOCH_SLICES = 800
SETTINGS = {"ema_decay": 0.99, "epoch_slices": EPOCH_SLICES, "epochs": EPOCHS}
"""What differs from the default recipe, because there are so few cases."""


@click.command(cls=Command)
@click.argument("shared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--without", multiple=True, metavar="CASE", help="Leave out and score; repeatable.")
@click.option("--name", help="Folder of the run within OUTPUT.  [default: all, or without-CASE]")
@click.option("--recipe", default="default", show_default=True, help="seed: for comparison.")
@click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Override a setting; repeatable."
)
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--resume", is_flag=True, help="Go on where the run was interrupted.")
@shared_options
def main(
    shared: Path,
    output: Path,
    without: tuple[str, ...],
    name: str | None,
    recipe: str,
    fields: tuple[str, ...],
    device: str,
    resume: bool,
) -> None:
    """Prepare the data in SHARED, train, export fp16 and score; results go to OUTPUT."""
    from lits_export.export import ExportSettings, export_model
    from lits_tools import bundled_data
    from lits_train.loop import train
    from lits_train.prepared import open_cases
    from lits_train.recipe import RECIPES
    from lits_train.run import RunSettings
    from lits_train.settings import override

    folder = output / (name or "-".join(["without", *without] if without else ["all"]))
    words = dict(field.split("=", 1) for field in fields)
    chosen = override(RECIPES[recipe], {**SETTINGS, **words})
    prepared = bundled_data.build(shared, output, chosen.size)
    hidden = bundled_data.without(without)
    cases = [case for case in open_cases(prepared) if case.case_id not in hidden]
    pictured = [case.case_id for case in cases if case.case_id.startswith("msd-")]
    run = RunSettings(
        folder,
        validation_cases=("100", *pictured[::VALIDATION_EVERY]),
        device=device,
        precision="auto" if device.startswith("cuda") else "bf16",
        resume=resume,
    )
    result = train(cases, chosen, run)
    checks = tuple(output / "sources" / f"volume-{case_id}.nii.gz" for case_id in ("44", "1003"))
    settings = ExportSettings(check_on=checks, licence=LICENCE)
    model = export_model(result.checkpoint, folder / "model.onnx", settings).model
    scores = score(model, output / "sources")
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    click.echo(json.dumps(scores, indent=1))


def score(model: Path, sources: Path) -> dict[str, dict[str, float]]:
    """Liver and lesion Dice and volumes of a model on the scans, by case ID."""
    from lits_runtime.segmenter import Segmenter
    from lits_tools.bundled_data import SCANS
    from lits_tools.overlap import overlap
    from lits_tools.pairs import read_labels

    segmenter = Segmenter.open(model, provider="cpu")
    scores: dict[str, dict[str, float]] = {}
    for scan in SCANS:
        case_id = scan.partition("/")[2]
        result = segmenter.segment(sources / f"volume-{case_id}.nii.gz")
        gt = read_labels(sources / f"segmentation-{case_id}.nii.gz")
        pred = result.geometry.to_canonical(result.labels)
        voxel_ml = gt.geometry.voxel_ml
        scores[case_id] = {
            "liver_dice": overlap(pred >= 1, gt.labels >= 1).dice,
            "lesion_dice": overlap(pred == 2, gt.labels == 2).dice,
            "lesion_ml": float((pred == 2).sum() * voxel_ml),
            "lesion_ml_gt": float((gt.labels == 2).sum() * voxel_ml),
        }
    return scores


if __name__ == "__main__":
    main()
