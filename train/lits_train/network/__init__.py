"""The network, what surrounds it between Hounsfield units and labels, and its checkpoint."""
