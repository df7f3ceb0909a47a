"""Image files as the host sees them: locks on their bytes, and faults that strike in them."""
