"""NBD, bytes to bytes: the server of a machine with its exports, handshakes, requests and contexts; a client."""
