"""NBD exports as a monitor sees them."""
