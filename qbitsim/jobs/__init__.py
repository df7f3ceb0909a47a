"""Jobs: states, verbs, job transactions; backup, mirror, commit, stream."""
