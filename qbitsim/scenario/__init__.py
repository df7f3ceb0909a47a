"""Files of steps: played, recorded and compared."""
