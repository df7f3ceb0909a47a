"""The QMP shell."""
