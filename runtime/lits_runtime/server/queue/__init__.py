"""Jobs on disk, and the worker processes that do them; knows nothing of HTTP."""
