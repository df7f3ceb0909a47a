"""The guest's devices: a tree of ids with their buses, and the drives that they use."""
