"""What happened to a machine, moment by moment."""
