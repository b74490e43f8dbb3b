"""The network, the steps between Hounsfield units and labels around it, and its checkpoint."""
