"""Numerical parity of a model file with the network that it came from."""
