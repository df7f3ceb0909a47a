"""Pictures of histories: a page, and a still image."""
