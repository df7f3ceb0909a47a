"""Which options of a node are emulated, which do nothing here, and which are refused.

Without a host there is nothing that ``cache``, ``aio`` or the sizes of qcow2's caches could change, so they are
accepted; so is ``cbw-timeout``, for a copy before a write takes no time. An option that would change what a client
sees, and that is not emulated, is refused: it must never be mistaken for one that works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qbitsim.drivers.qcow2_caches import check_cache_sizes
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.sizes import SECTOR

Options = dict[str, Any]
"""The options of a node, under QAPI's names."""

MAXIMUM_GRANULARITY = 1 << 31


class Written(dict[str, Any]):
    """Options that were given as text, which is what QEMU shows of them.

    :ivar texts: name -> what was written: ``{"once": "off"}`` where the value is False.
    """

    __slots__ = ("texts",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.texts: dict[str, str] = {}


REFUSED = {
    "blkdebug": ("config", "align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"),
    "copy-on-read": ("bottom",),
    "file": ("pr-manager",),
    "qcow2": ("encrypt",),
}
"""Driver -> options that are refused whatever their value."""

REFUSED_VALUES: dict[str, dict[str, tuple[object, ...]]] = {
    "qcow2": {"discard-no-unref": (False,)},
}
"""Driver -> option -> the values that change nothing; others are refused."""

BLKDEBUG_EVENTS = frozenset(
    {
        *("none", "read_aio", "write_aio", "read_backing_aio", "write_compressed"),
        *("pwritev", "pwritev_zero", "pwritev_done", "flush_to_os", "flush_to_disk"),
    }
)
"""The events of blkdebug that happen here; those of qcow2's metadata do not."""


def check_supported(driver: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a node that are not emulated and would change something.

    :raises UnsupportedError: naming the option; for aio=native QEMU's own refusal.
    """
    for name in REFUSED.get(driver, ()):
        if name in options:
            raise UnsupportedError(f"'{name}' of {driver}")
    for name, harmless in REFUSED_VALUES.get(driver, {}).items():
        if name in options and options[name] not in harmless:
            raise UnsupportedError(f"'{name}' of {driver}")
    for name in ("offset", "size") if driver == "raw" else ():
        if options.get(name, 0) < 0:
            raise QmpError(f"Value '{options[name]}' is out of range for parameter '{name}'")
    if options.get("active") is False:
        raise UnsupportedError("inactive nodes")
    if driver == "qcow2":
        _check_qcow2(options)
    if driver == "file" and options.get("aio") == "native" and not options.get("cache", {}).get("direct"):
        raise QmpError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    if driver == "copy-before-write":
        check_minimum_cluster(options.get("min-cluster-size", 0))
    if driver == "blkdebug":
        _check_events(options)


def _check_qcow2(options: Mapping[str, Any]) -> None:
    check_cache_sizes(options)
    if "data-file" in options:
        raise QmpError("'data-file' can only be set for images with an external data file")


def check_minimum_cluster(size: int) -> None:
    """Refuse a min-cluster-size, in bytes, with which nothing can be copied.

    :raises QmpError: with the text of block_copy_state_new (block/block-copy.c, QEMU 10.0).
    :raises UnsupportedError: it is above 2 GiB: QEMU 10.0 dies of it, since its bitmaps count granules in 32 bits.
    """
    if size & (size - 1):
        raise QmpError("Cannot create block-copy-state: min-cluster-size needs to be a power of 2")
    if size > MAXIMUM_GRANULARITY:
        raise UnsupportedError(f"min-cluster-size={size}: real QEMU crashes")


def _check_events(options: Mapping[str, Any]) -> None:
    for rule in [*options.get("inject-error", []), *options.get("set-state", [])]:
        if rule["event"] not in BLKDEBUG_EVENTS:
            raise UnsupportedError(f"the event '{rule['event']}' of blkdebug")
        if rule.get("delay-ns"):
            raise UnsupportedError("'delay-ns' of blkdebug")


def check_detect_zeroes(options: Mapping[str, Any]) -> None:
    """Refuse to unmap zeroes where discards are not passed on.

    :raises QmpError: with the text of bdrv_parse_detect_zeroes (block.c, QEMU 10.0).
    """
    if options.get("detect-zeroes") == "unmap" and options.get("discard") != "unmap":
        raise QmpError("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")


def check_window(length: int, options: Mapping[str, Any]) -> None:
    """Refuse a raw node that does not fit into its file of ``length`` bytes.

    :raises QmpError: in the order of raw_apply_options (block/raw-format.c, QEMU 10.0).
    """
    offset, size = options.get("offset", 0), options.get("size")
    if offset > length:
        raise QmpError(f"Offset ({offset}) cannot be greater than size of the containing file ({length})")
    if size is None:
        return
    if size > length - offset:
        raise QmpError(
            f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the  actual size of the "
            f"containing file ({length})"
        )
    if size % SECTOR:
        raise QmpError(f"Specified size is not multiple of {SECTOR}")
