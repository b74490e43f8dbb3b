"""The HTTP interface: requests in, JSON and files out; the only room that imports FastAPI."""
