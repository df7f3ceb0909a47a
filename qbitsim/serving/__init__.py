"""Sockets, threads and asyncio around sessions; nothing below uses them."""
