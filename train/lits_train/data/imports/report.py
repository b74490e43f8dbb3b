"""What was imported and what was left out, for a terminal or as JSON."""

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lits_runtime.messages import printable
from lits_train.data.imports.write import Imported


def report_table(imported: Sequence[Imported]) -> Table:
    """One row per case."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("case", "from", "how"):
        table.add_column(name)
    for one in imported:
        table.add_row(Text(printable(one.case_id)), Text(printable(one.volume.name)), one.how)
    return table


def report_records(
    imported: Sequence[Imported], left_out: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """What was imported, then the files or cases that were left out, each with its reason."""
    for one in imported:
        yield {"case": one.case_id, "from": str(one.volume), "how": one.how}
    for name, why in left_out.items():
        yield {"left_out": name, "reason": why}


def left_out_lines(left_out: Mapping[str, str]) -> Iterator[Text]:
    """One line for everything that was left out."""
    for name, why in left_out.items():
        yield Text(printable(f"left out: {name}: {why}"), "yellow")
