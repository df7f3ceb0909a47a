"""Declared arguments and replies: schema, decoding with QEMU's error texts, introspection, the register of commands."""
