"""What real QEMUs said, in files that lie in a folder ``recorded`` beside the modules that read them."""

from __future__ import annotations

import os
from typing import Any


def recorded_text(module: str, name: str) -> str:
    """The text of a file.

    :param module: the ``__file__`` of the module that reads it.
    """
    with open(os.path.join(os.path.dirname(module), "recorded", name), encoding="utf-8") as file:
        return file.read()


def recorded_json(module: str, name: str) -> Any:
    """The value in a file of JSON."""
    import json  # noqa: PLC0415 - many programs read no such file

    return json.loads(recorded_text(module, name))
