"""What all that is shown in a terminal shares: pictures in text, messages, descriptions of disks and failures."""
