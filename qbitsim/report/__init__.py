"""The picture of a history: a page, or a still picture."""
