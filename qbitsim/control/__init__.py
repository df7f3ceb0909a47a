"""qbitsim's own commands, for clients that may control the machine."""
