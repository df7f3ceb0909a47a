"""QAPI types that everything shares (qapi/common.json, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.schema import Alternate, Annotated, QNull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

StrOrNull: TypeAlias = Annotated[str | QNull, Alternate("StrOrNull")]
"""A text; null stands for the empty one."""


class OnOffAuto(StrEnum):
    """A switch with a default that depends."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"
