"""Block drivers, one in each module, and how a node is opened from options (see :mod:`qbitsim.drivers.driver`)."""
