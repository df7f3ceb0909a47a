"""What happened to a machine, moment by moment, with the bits, the jobs and the disks as they were."""
