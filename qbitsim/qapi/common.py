"""QAPI types that everything shares (qapi/common.json, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.enums import StrEnum


class OnOffAuto(StrEnum):
    """A switch with a default that depends."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"
