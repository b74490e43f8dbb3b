"""Files: read while others may change them, locked, and written whole or not at all."""
