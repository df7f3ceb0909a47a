"""Copying in the background: block-copy, its calls and the rate limit, for backups and copy-before-write."""
