"""For tests: pytest fixtures, Hypothesis strategies, state machines and laws."""
