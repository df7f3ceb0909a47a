"""The page of a machine that runs."""
