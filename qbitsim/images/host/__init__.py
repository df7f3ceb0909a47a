"""Images in files of the host."""
