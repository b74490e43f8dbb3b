"""The series to segment among those found: the wanted one, or the most fitting, with the reason."""

import re
from dataclasses import dataclass

from lits_runtime.errors import VolumeError
from lits_runtime.messages import hashed_uid, printable
from lits_runtime.volumes.dicom.find import FoundSeries, Refused
from lits_runtime.volumes.dicom.series import Series

LEAST_SLICES = 10
"""Of a series in a folder that is segmented without being named."""
_AXIAL = 0.7
"""Least cosine between normal and body axis: a gantry is tilted by 30 degrees at most."""
_LIVER_MM = 100.0
"""Along the body that a series must cover for a whole liver to be likely."""
_FITTING_MM = (0.99, 5.01)

_PHASES = {
    "portal venous": (
        r"porto|portal|\bpvp?\b|ven(ous|oes|ös|osa|oso|eu[sx])|\bven\b|[67]\d ?(s|sec|sek)\b"
        r"|门静脉|门脉|静脉期|門脈|портал|венозн"
    ),
    "arterial": r"arteri|artéri|\bart\b|\bhap\b|动脉|動脈|артериал|[23]\d ?(s|sec|sek)\b",
    "late": (
        r"\blate\b|delay|tardi|spät|spaet|equilib|excret|延迟|遅延|平衡|отсроч|выделит"
        r"|(?<!\d)(1[2-9]\d|[3-6]\d\d) ?(s|sec|sek)\b|\d ?min\b"
    ),
    "native": (
        r"nativ|non.?con|unenhanced|\bplain\b|without|pre.?con|sans inj|senza|sin con|sem con"
        r"|\bohne\b|\bbasal|\bsans\b|\bwo\b|平扫|単純|натив|без контраст"
    ),
}
"""Words in English, German, French, Spanish, Italian, Portuguese, Chinese, Japanese and Russian."""
_RANK = {"portal venous": 4, "late": 2, "": 2, "arterial": 1, "native": 0}
_SHARP = (
    r"lung|lunge|poumon|polm|pulm|bone|knochen|\bos\b|hueso|sharp|edge"
    r"|(^|\D)[bi]?[6-9]\df?\b|\byc\b|\bfc5\d"
)
_SOFT = (
    r"standard|soft|\bstnd|weich|abdomen|\bfc[01]\d|\b[abc]\b"
    r"|\bb[rf]?[23]\d|\bi[23]\d|[bi][34][0-5]f?"
)
"""Of GE, Siemens, Philips and Canon."""
_PROJECTIONS = {"MIP", "MINIP", "MAXIP", "IODINE", "VNC", "PROJECTION IMAGE", "SCREEN SAVE"}
_OTHER_PARTS = (
    r"head|skull|brain|neck|extrem|knee|hand|foot|ankle|shoulder|hip\b|wrist|elbow|leg|arm\b"
)


@dataclass(frozen=True)
class Chosen:
    """The series to segment."""

    series: Series
    reason: str
    """One line, without anything that names a patient."""


def phase_of(series: Series) -> str:
    """The contrast phase that the descriptions name: a key of `_PHASES`, or empty."""
    texts = " ".join(series.acquisition.texts).lower().replace("_", " ")
    for phase in ("native", "late", "arterial", "portal venous"):
        if re.search(_PHASES[phase], texts) and not (phase == "native" and "portal" in texts):
            return phase
    return ""


def kernel_of(series: Series) -> str:
    """Whether the reconstruction kernel is "soft" or "sharp"; empty if it is not known."""
    kernel = series.acquisition.kernel.lower()
    if re.search(_SHARP, kernel):
        return "sharp"
    return "soft" if re.search(_SOFT, kernel) else ""


def is_axial(series: Series) -> bool:
    """Whether the slices are across the body, a tilted gantry allowed."""
    row, column = series.orientation[:3], series.orientation[3:]
    return abs(row[0] * column[1] - row[1] * column[0]) >= _AXIAL


def why_no_job(series: Series) -> str | None:
    """Why a series in a folder of many is not segmented; None if it is."""
    if not is_axial(series):
        return "not axial"
    if _is_derived(series):
        return "a projection or a map, not CT as it was reconstructed"
    if len(series.slices) < LEAST_SLICES:
        return f"{len(series.slices)} slices, fewer than {LEAST_SLICES}"
    return None


def label_of(series: Series) -> str:
    """What `choose_series` takes for a number: "3", or "3.2" for the second volume of series 3."""
    number = "-" if series.number is None else str(series.number)
    return f"{number}.{series.part[0]}" if series.part[1] > 1 else number


def choose_series(found: FoundSeries, wanted: str | None = None, name: str = "") -> Chosen:
    """The series that is wanted, or the most fitting axial CT.

    Args:
        found: of `find_series`.
        wanted: a Series Instance UID, a number as of `label_of`, or the name of a series.
        name: of what was searched, for messages.

    Raises:
        VolumeError: there is none, or what is wanted is not there, not unique, or refused.
    """
    where = f"{name}: " if name else ""
    if wanted is not None:
        return _wanted(found, wanted.strip(), where)
    if not found.series:
        raise VolumeError(f"{where}{_nothing(found)}")
    ranked = sorted(found.series, key=_fitness, reverse=True)
    best = ranked[0]
    reason = f"{best.name}: {_in_words(best)}"
    if len(ranked) > 1:
        others = ", ".join(one.name for one in ranked[1:4]) + (", ..." if len(ranked) > 4 else "")
        reason += f"; chosen among {len(ranked)} series (others: {others})"
    for one in _worth_telling(found.refused, best):
        reason += f"; refused: {one.name}: {one.why}"
    return Chosen(best, reason)


def _worth_telling(refused: tuple[Refused, ...], best: Series) -> list[Refused]:
    return [one for one in refused if 2 * one.images >= len(best.slices)][:2]


def _wanted(found: FoundSeries, wanted: str, where: str) -> Chosen:
    fitting = [
        one
        for one in found.series
        if wanted in (one.uid, label_of(one), str(one.number), one.key, one.name)
    ]
    if len(fitting) == 1:
        return Chosen(fitting[0], f"{fitting[0].name}: as asked for")
    for one in found.refused:
        if not fitting and wanted in (one.uid, str(one.number), hashed_uid(one.uid), one.name):
            raise VolumeError(f"{where}{one.name}: {one.why}")
    shown = wanted if wanted.isdecimal() else "of this name"
    if fitting:
        names = ", ".join(one.name for one in fitting)
        raise VolumeError(f"{where}several series {shown}: {names}; name one of these, or its UID")
    there = ", ".join(one.name for one in found.series) or "no CT series"
    raise VolumeError(f"{where}no series {printable(shown)}; there is: {there}")


def _nothing(found: FoundSeries) -> str:
    """Why nothing in what was given is a CT series."""
    if found.refused:
        worst = max(found.refused, key=lambda one: one.images)
        more = f" ({len(found.refused) - 1} more series refused)" if len(found.refused) > 1 else ""
        return f"{worst.name}: {worst.why}{more}"
    reasons: dict[str, int] = {}
    for one in found.not_used:
        reasons[one.why] = reasons.get(one.why, 0) + 1
    usual = sorted(reasons, key=lambda why: -reasons[why])[:3]
    counted = ", ".join(f"{reasons[why]} x {why}" for why in usual)
    return f"no CT series among {found.files} files" + (f" ({counted})" if counted else "")


def _fitness(series: Series) -> tuple[object, ...]:
    made, step = series.acquisition, series.step_mm
    fitting = _FITTING_MM[0] <= step <= _FITTING_MM[1]
    return (
        is_axial(series),
        not _is_derived(series),
        not re.search(_OTHER_PARTS, made.body_part.lower()),
        len(series.slices) * step >= _LIVER_MM,
        kernel_of(series) != "sharp",
        _RANK[phase_of(series)] + bool(made.contrast_agent),
        fitting,
        kernel_of(series) == "soft",
        -step if fitting else -abs(step - 2.5),
        len(series.slices),
        -(series.number or 0),
        -series.part[0],
    )


def _is_derived(series: Series) -> bool:
    kinds = {one.upper() for one in series.acquisition.image_type[2:]}
    return bool(kinds & _PROJECTIONS)


def _in_words(series: Series) -> str:
    phase, kernel = phase_of(series), kernel_of(series)
    words = ["axial CT" if is_axial(series) else "CT, not axial"]
    if phase:
        words.append(f"{phase} by its description")
    elif series.acquisition.contrast_agent:
        words.append("with contrast agent")
    if kernel:
        words.append(f"{kernel} kernel")
    words.append(f"{len(series.slices)} slices in steps of {series.step_mm:.4g} mm")
    return ", ".join(words)
