"""Virtual time, transactions with undo, the log of events."""
