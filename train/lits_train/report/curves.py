"""Learning curves of a run: loss, validation Dice by class, learning rate and speed."""

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lits_train.report.metrics import RunMetrics

_COLOURS = {"liver": "#0072b2", "lesion": "#d55e00"}
_GREY = "#555555"
_MOST_MARKED = 40
"""Epochs up to which each is marked by a point."""


def learning_curves(run: RunMetrics) -> Figure:
    """A figure of four panels over the epochs; dotted lines show where the run was resumed."""
    figure = Figure((10, 6.4), layout="constrained")
    for axes, draw in zip(
        figure.subplots(2, 2).flat, (_draw_loss, _draw_dice, _draw_rate, _draw_speed), strict=True
    ):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        draw(axes, run)
        for number in run.resumed:
            axes.axvline(number - 0.5, color=_GREY, linestyle=":", linewidth=1)
        axes.set_xlim(run.epochs[0].number - 0.6, run.epochs[-1].number + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def svg(figure: Figure) -> str:
    """A figure as an element of a page; the same figure gives the same text."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lits-train", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    _, tag, content = stream.getvalue().partition("<svg")
    return tag + content


def _plot(axes: Axes, values: dict[int, float], colour: str = _GREY, label: str = "") -> None:
    style = "o-" if len(values) <= _MOST_MARKED else "-"
    points = list(values), list(values.values())
    axes.plot(*points, style, color=colour, markersize=3.5, linewidth=1.4, label=label)


def _draw_loss(axes: Axes, run: RunMetrics) -> None:
    losses = {epoch.number: epoch.loss for epoch in run.epochs}
    _plot(axes, losses)
    if min(losses.values()) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title("training loss" + (", dotted: resumed" if run.resumed else ""))


def _draw_dice(axes: Axes, run: RunMetrics) -> None:
    axes.set_title("validation Dice")
    axes.set_ylim(-0.02, 1.02)
    for name in run.classes:
        colour = _COLOURS.get(name, "black")
        seen = {e.number: e.dice[name] for e in run.epochs if name in e.dice}
        unseen = all(value != value for value in seen.values())
        _plot(axes, seen, colour, f"{name}, in no validation case" if unseen else name)
        full = {e.number: e.full_dice[name] for e in run.epochs if name in e.full_dice}
        if full:
            label = f"{name}, full resolution"
            axes.plot(list(full), list(full.values()), "D", color=colour, mfc="none", label=label)
    if (best := run.best) is not None:
        axes.axvline(best.number, color="#009e73", linewidth=1, label=f"best: epoch {best.number}")
    if run.classes:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    else:
        axes.text(0.5, 0.5, "not validated yet", ha="center", transform=axes.transAxes)


def _draw_rate(axes: Axes, run: RunMetrics) -> None:
    _plot(axes, {epoch.number: epoch.learning_rate for epoch in run.epochs})
    axes.set_ylim(bottom=0)
    axes.set_title("learning rate")


def _draw_speed(axes: Axes, run: RunMetrics) -> None:
    _plot(axes, {epoch.number: epoch.slices_per_s for epoch in run.epochs})
    axes.set_ylim(bottom=0)
    axes.set_title("training slices/s")
