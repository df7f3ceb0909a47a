"""The syntax that node-names, job ids and device ids share (util/id.c, id_wellformed, QEMU 10.0)."""

from __future__ import annotations

_WITHOUT_MARKS = str.maketrans("", "", "-._")


def is_well_formed(identifier: str) -> bool:
    """Whether it is an ASCII letter followed by ASCII letters, digits and ``-._``."""
    return identifier.isascii() and identifier[:1].isalpha() and identifier.translate(_WITHOUT_MARKS).isalnum()


ID_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n"
"""What people are told when an identifier is ill-formed (parse_option_id, util/id.c)."""
