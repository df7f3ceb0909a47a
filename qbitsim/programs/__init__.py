"""What takes the arguments of a command line and returns an exit status."""
