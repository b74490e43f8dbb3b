"""An evaluation as tables, figures and one page."""
