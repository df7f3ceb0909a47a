"""File names that are JSON: ``json:{…}``, in the JSON that a monitor takes, with single quotes too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qmp.parser import JsonStream

if TYPE_CHECKING:
    from qbitsim.jsontypes import JsonObject


def json_name(name: str) -> JsonObject:
    """The object behind ``json:`` (parse_json_filename, block.c, 10.0).

    :raises UnsupportedError: it is no object, or broken, of which QEMU tells more.
    """
    found = JsonStream().feed(name.removeprefix("json:").encode())
    if len(found) != 1 or isinstance(found[0], QmpError) or not isinstance(found[0], dict):
        raise UnsupportedError(f"the file name '{name}'")
    return found[0]
