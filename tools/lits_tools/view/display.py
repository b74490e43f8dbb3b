"""How scans and masks are shown: colours, windows, the names of views and file endings."""

from lits_runtime.labels import COLOURS

WINDOW_HU = (-100.0, 240.0)
"""HU shown as black and as white."""
PRESETS_HU = {"abdomen": WINDOW_HU, "liver": (0.0, 160.0), "narrow": (-10.0, 110.0)}
"""Windows that the viewer page offers."""

LIVER_COLOUR, LESION_COLOUR = COLOURS["liver"], COLOURS["lesion"]
REFERENCE_LIVER_COLOUR, REFERENCE_LESION_COLOUR = "#56b4e9", "#009e73"
"""Contours: of predictions in warm colours, of references in cool ones of the same palette."""
PREDICTED_COLOUR, REFERENCE_COLOUR = "#e69f00", "#56b4e9"
AGREED_COLOUR = "#f5f5f5"
"""Of the same palette. Where masks are compared, what only the prediction has is orange and what
only the reference has is blue."""
LIVER_ON_WHITE = "#0072b2"
"""Not the yellow of the views, which fades on white."""
MARKED_COLOUR = "#cc79a7"
"""Of the ring around a small lesion, the one colour that neither masks nor CT have."""
SERIES = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#56b4e9", "v"),
    ("#e69f00", "P"),
)
"""Colour and marker of each prediction in a figure on white; markers tell them apart in grey."""

VIEW_NAMES = ("ct", "predicted", "reference", "overlay", "contours", "difference", "context")
"""The keys of `panels.VIEWS`, which needs matplotlib."""
ENDINGS = (".png", ".pdf", ".svg", ".gif", ".html")
"""Of the files that lits-view writes."""

DPI, GIF_DPI = 120, 80
