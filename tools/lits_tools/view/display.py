"""How scans and masks are shown: colours, windows, the names of views and file endings."""

WINDOW_HU = (-100.0, 240.0)
"""HU shown as black and as white."""
PRESETS_HU = {"abdomen": WINDOW_HU, "liver": (0.0, 160.0), "narrow": (-10.0, 110.0)}
"""Windows that the viewer page offers."""

LIVER_COLOUR, LESION_COLOUR = "#f0e442", "#d55e00"
PREDICTED_COLOUR, REFERENCE_COLOUR = "#e69f00", "#56b4e9"
AGREED_COLOUR = "#f5f5f5"
"""Okabe and Ito (2008), which colour-blind readers can distinguish. Where masks are compared, what
only the prediction has is orange and what only the reference has is blue."""

VIEW_NAMES = ("ct", "predicted", "reference", "overlay", "contours", "difference", "context")
"""The keys of `panels.VIEWS`, which needs matplotlib."""
ENDINGS = (".png", ".pdf", ".svg", ".gif", ".html")
"""Of the files that lits-view writes."""

DPI, GIF_DPI = 120, 80
