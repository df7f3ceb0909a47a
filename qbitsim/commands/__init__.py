"""One function for each QMP command, and for each line of HMP."""
