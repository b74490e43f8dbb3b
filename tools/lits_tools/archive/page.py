"""The report of an archive as a self-contained page."""

import html
import importlib.resources
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from lits_tools.archive.figures import archive_figures
from lits_tools.archive.outliers import SHOWN, Outlier, outliers, thumbnail
from lits_tools.archive.table import kind_of
from lits_tools.report.panels import figures_html

_FIGURES = {
    "liver_ml": "liver, ml",
    "lesion_ml": "lesions, ml",
    "burden_percent": "burden, %",
    "lesion_count": "lesions",
    "seconds": "seconds",
    "scan_mb": "MB",
}
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)
_MOST_ROWS = 50


def archive_page(table: pa.Table, scans: Mapping[str, str]) -> str:
    """The page as HTML text.

    Args:
        table: of all jobs, see `table.table_of`.
        scans: where scans are, by id, for the pictures of those that stand out.
    """
    states = Counter(table["state"].to_pylist())
    parts = {
        "SUBTITLE": html.escape(_subtitle(table, states)),
        "DISTRIBUTIONS": _distributions(table),
        "FIGURES": figures_html(archive_figures(table)),
        "WARNINGS": _kinds(_warnings(table), "warning"),
        "FAILURES": _kinds(_failures(table), "failure"),
        "FAILED": _failed(table),
        "OUTLIERS": _pictures(outliers(table), scans),
    }
    page = importlib.resources.files("lits_tools.archive").joinpath("archive.html")
    text = page.read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"__{name}__", part)
    return text


def _subtitle(table: pa.Table, states: Mapping[str, int]) -> str:
    counts = ", ".join(f"{states.get(s, 0):,} {s}" for s in ("done", "failed", "quarantined"))
    models = sorted({model for model in table["model_sha256"].to_pylist() if model})
    providers = sorted({one for one in table["provider"].to_pylist() if one})
    text = f"{table.num_rows:,} scans: {counts}"
    if models:
        text += f"; model {', '.join(model[:12] for model in models)} on {', '.join(providers)}"
    return text


def _distributions(table: pa.Table) -> str:
    rows = []
    for name, title in _FIGURES.items():
        values = [value for value in table[name].to_pylist() if value is not None]
        if values:
            cells = [f"{value:,.4g}" for value in np.percentile(values, _QUANTILES)]
            rows.append((title, f"{len(values):,}", *cells, f"{np.mean(values):,.4g}"))
    heads = ("", "scans", *(f"{q} %" for q in _QUANTILES), "mean")
    return _table(heads, rows)


def _warnings(table: pa.Table) -> Counter[str]:
    return Counter(
        kind
        for warnings in table["warnings"].to_pylist()
        for kind in set(map(kind_of, warnings or ()))
    )


def _failures(table: pa.Table) -> Counter[str]:
    kinds = zip(table["error_kind"].to_pylist(), table["error"].to_pylist(), strict=True)
    return Counter(f"{kind}: {kind_of(error)}" for kind, error in kinds if kind is not None)


def _kinds(kinds: Counter[str], what: str) -> str:
    if not kinds:
        return '<p class="note">None.</p>'
    rows = [(kind, f"{count:,}") for kind, count in kinds.most_common(_MOST_ROWS)]
    return _table((what, "scans"), rows)


def _failed(table: pa.Table) -> str:
    failed = [row for row in table.to_pylist() if row["state"] != "done"]
    if not failed:
        return ""
    rows = [
        (row["id"], row["state"], row["error"], str(row["attempts"])) for row in failed[:_MOST_ROWS]
    ]
    more = len(failed) - len(rows)
    note = f'<p class="note">and {more:,} more: see the Parquet file</p>' if more else ""
    return _table(("scan", "state", "error", "attempts"), rows) + note


def _pictures(found: list[Outlier], scans: Mapping[str, str]) -> str:
    if not found:
        return '<p class="note">No scan stands out.</p>'
    parts = []
    for outlier in found[:SHOWN]:
        picture = thumbnail(outlier, scans)
        image = '<div class="none">no mask to show</div>'
        if picture is not None:
            image = f'<img src="{picture}" alt="{html.escape(outlier.id, quote=True)}">'
        why = html.escape(", ".join(outlier.why))
        parts.append(
            f"<figure>{image}<figcaption>{html.escape(outlier.id)}<br>{why}</figcaption></figure>"
        )
    note = f'<p class="note">The first {SHOWN} of {len(found):,}.</p>' * (len(found) > SHOWN)
    return f'<div class="pictures">{"".join(parts)}</div>{note}'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
