"""The human monitor: the commands of ``human-monitor-command``, each one function under :func:`.declaration.hmp`."""
