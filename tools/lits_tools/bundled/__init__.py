"""How the bundled model is trained and judged; not part of the wheel."""
