"""Series that come in: which there are, when they are complete, and which become jobs."""
