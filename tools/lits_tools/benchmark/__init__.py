"""Speed and memory, measured in turn."""
