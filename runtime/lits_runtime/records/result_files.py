"""Files of results: names, and the rule for outputs that get no record."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lits_runtime.errors import OptionsError, OutputError
from lits_runtime.files.output_rule import Inputs, check_target, check_targets
from lits_runtime.messages import printable
from lits_runtime.records.record_file import explains, read_record, record_path
from lits_runtime.volumes.names import WRITTEN_WORDS, is_dicom_name, is_written, stem_and_ending

FORMATS: Mapping[str, str] = {
    "nifti": "mask.nii.gz",
    "seg": "seg.dcm",
    "sr": "sr.dcm",
    "sc": "sc",
    "rtstruct": "rtstruct.dcm",
}
"""What is written of a DICOM series, and its name in the folder of the series; "sc" is a folder."""
DEFAULT_FORMATS = ("seg", "sr")
FOLDER_RECORD = "record.json"
"""In the folder of a series."""


def series_files(output: Path, formats: Sequence[str]) -> dict[str, Path]:
    """The results of a DICOM series by format: in a folder, or the one file that has a name.

    Args:
        output: a folder, or a file whose ending decides: .dcm is a SEG, .nii and .nii.gz a mask.
        formats: wanted; by default the usual ones.

    Raises:
        OptionsError: there is no such format, or the file has the ending of another one.
    """
    if unknown := [one for one in formats if one not in FORMATS]:
        known = ", ".join(FORMATS)
        raise OptionsError(f"format {printable(str(unknown[0]))!r}: expected one of {known}")
    only = None if output.is_dir() else format_of(output)
    if only is None:
        wanted = [one for one in FORMATS if one in (formats or DEFAULT_FORMATS)]
        return {one: output / FORMATS[one] for one in wanted}
    if set(formats) - {only}:
        raise OptionsError(
            f"{printable(str(output))}: a name of one {only} file, and the formats are "
            f"{', '.join(formats)}; give a folder"
        )
    return {only: output}


def format_of(output: Path) -> str | None:
    """The format that the ending of a name asks for; None for a folder."""
    if is_dicom_name(output.name):
        return "seg"
    return "nifti" if is_written(output.name) else None


def pictures(folder: Path) -> list[Path]:
    """The secondary captures in the folder of that format."""
    return sorted(folder.glob("[0-9]*.dcm"))


def check_results(results: Sequence[Path], inputs: Inputs, *, force: bool) -> None:
    """Apply the rule for outputs to masks and probabilities that get no record.

    Args:
        results: the files, the mask first; those that the record of a batch accounts for are ours.
        inputs: scan and model.
        force: replace other files.

    Raises:
        OutputError: one of them must not be written.
    """
    check_targets(results, inputs, force=True)
    if not results:
        return
    known = read_record(record_path(results[0]))
    for path in results:
        ours = path.exists() and explains(known, results[0], path)
        check_target(path, inputs, force=force, ours=ours)


def check_endings(results: Iterable[Path]) -> None:
    """Refuse names of masks and probabilities with the endings of other formats.

    Raises:
        OutputError: one of them.
    """
    for path in results:
        if not is_written(path.name):
            name = printable(str(path))
            raise OutputError(f"{name}: expected a name ending in {WRITTEN_WORDS}")


def probability_path(probability: Path, class_name: str) -> Path:
    """The file of one class: p_lesion.nii.gz for p.nii.gz."""
    stem, ending = stem_and_ending(probability.name)
    return probability.with_name(f"{stem}_{class_name}{ending}")
