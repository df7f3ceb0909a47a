"""The picture of time of a live machine, over HTTP."""
