"""NBD, bytes to bytes: server, exports, handshakes, requests, contexts; the client, and exports of others as files."""
