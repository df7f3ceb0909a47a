"""The documents that are installed with the package, in Markdown: ``qbitsim/docs``.

They are shown as they are written; where they lead to files of the repository, an installed package has none.
"""

from __future__ import annotations

from importlib.resources import files

from qbitsim.nearest import nearest
from qbitsim.terminal.errors import CliError

_FOLDER = files("qbitsim") / "docs"
_SUFFIX = ".md"


def names() -> list[str]:
    """What documents there are, without their suffix."""
    return sorted(each.name.removesuffix(_SUFFIX) for each in _FOLDER.iterdir() if each.name.endswith(_SUFFIX))


def text(name: str) -> str:
    """What a document says.

    :raises CliError: there is no such document.
    """
    there = names()
    if name not in there:
        raise CliError(f"there is no document '{name}'{nearest(name, there)} (there are {', '.join(there)})")
    return (_FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
