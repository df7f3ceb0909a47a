"""Block drivers, one in each module, and how a node is opened from options.

A driver is imported when it is asked for, see :mod:`qbitsim.drivers.driver`.
"""
