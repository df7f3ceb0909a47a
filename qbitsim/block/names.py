"""The syntax that node-names, job ids and device ids share (util/id.c, id_wellformed, QEMU 10.0)."""

from __future__ import annotations


def is_well_formed(identifier: str) -> bool:
    """Whether it is an ASCII letter followed by ASCII letters, digits and ``-._``."""
    marks = str.maketrans("", "", "-._")
    return identifier.isascii() and identifier[:1].isalpha() and identifier.translate(marks).isalnum()


ID_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n"
"""What people are told when an identifier is ill-formed (parse_option_id, util/id.c)."""
