"""Files of masks and probabilities: names, and the rule for outputs that get no record."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lits_runtime.errors import OutputError
from lits_runtime.files.output_rule import Inputs, check_target, check_targets
from lits_runtime.messages import printable
from lits_runtime.records.record_file import explains, read_record, record_path
from lits_runtime.volumes.names import WRITTEN_WORDS, is_written, stem_and_ending


def check_results(results: Sequence[Path], inputs: Inputs, *, force: bool) -> None:
    """Apply the rule for outputs to masks and probabilities that get no record.

    Args:
        results: the files, the mask first; those that the record of a batch accounts for are ours.
        inputs: scan and model.
        force: replace other files.

    Raises:
        OutputError: one of them must not be written.
    """
    check_endings(results)
    check_targets(results, inputs, force=True)
    known = read_record(record_path(results[0]))
    for path in results:
        ours = path.exists() and explains(known, results[0], path)
        check_target(path, inputs, force=force, ours=ours)


def check_endings(results: Iterable[Path]) -> None:
    """Refuse names with the endings of other formats.

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
