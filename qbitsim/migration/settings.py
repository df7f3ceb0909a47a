"""What clients have set for a migration: capabilities and parameters (migration/options.c, QEMU 10.0).

They are kept, checked as QEMU checks them, and shown; :mod:`.outgoing` and :mod:`.incoming` go by some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.bitmap_owner import MAXIMUM_NAME_BYTES
from qbitsim.block.graph import MAXIMUM_NODE_NAME
from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

MAXIMUM_ALIAS = 255
PAGE = 4096
END_OF_MEMORY = 8
"""Bytes that say that the memory, of which there is none, ends."""

DEFAULTS: dict[str, Any] = {
    "announce-initial": 50,
    "announce-max": 550,
    "announce-rounds": 5,
    "announce-step": 100,
    "compress-level": 1,
    "compress-threads": 8,
    "compress-wait-thread": True,
    "decompress-threads": 2,
    "throttle-trigger-threshold": 50,
    "cpu-throttle-initial": 20,
    "cpu-throttle-increment": 10,
    "cpu-throttle-tailslow": False,
    "tls-creds": "",
    "tls-hostname": "",
    "tls-authz": "",
    "max-bandwidth": 134217728,
    "avail-switchover-bandwidth": 0,
    "downtime-limit": 300,
    "x-checkpoint-delay": 20000,
    "block-incremental": False,
    "multifd-channels": 2,
    "xbzrle-cache-size": 67108864,
    "max-postcopy-bandwidth": 0,
    "max-cpu-throttle": 99,
    "multifd-compression": "none",
    "multifd-zlib-level": 1,
    "multifd-qatzip-level": 1,
    "multifd-zstd-level": 1,
    "x-vcpu-dirty-limit-period": 1000,
    "vcpu-dirty-limit": 1,
    "mode": "normal",
    "zero-page-detection": "multifd",
    "direct-io": False,
    "x-rdma-chunk-size": 1048576,
    "cpr-exec-command": [],
}
"""The parameters of a new machine; ``block-bitmap-mapping`` has no value until it is given one."""


@record
class _Limit:
    """The values that a parameter may have, and the words in which QEMU says so."""

    name: str
    accepts: Callable[[int, Mapping[str, Any]], bool]
    words: str


def _between(name: str, first: int, last: int, words: str = "a value between {} and {}") -> _Limit:
    return _Limit(name, lambda value, _: first <= value <= last, words.format(first, last))


_PERCENT = "an integer in the range of {} to {}"
_LIMITS = (
    _between("compress-level", 0, 9),
    _between("compress-threads", 1, 255),
    _between("decompress-threads", 1, 255),
    _between("throttle-trigger-threshold", 1, 100, _PERCENT),
    _between("cpu-throttle-initial", 1, 99, _PERCENT),
    _between("cpu-throttle-increment", 1, 99, _PERCENT),
    _between("downtime-limit", 0, 2000 * 1000, "an integer in the range of 0 to (2000 * 1000) ms"),
    _between("multifd-channels", 1, 255),
    _between("multifd-zlib-level", 0, 9),
    _between("multifd-qatzip-level", 1, 9),
    _between("multifd-zstd-level", 0, 20),
    _Limit(
        "xbzrle-cache-size",
        lambda value, _: value >= PAGE and not value & (value - 1),
        "a power of two no less than the target page size",
    ),
    _Limit(
        "max-cpu-throttle",
        lambda value, values: values["cpu-throttle-initial"] <= value <= 99,
        "an integer in the range of {cpu-throttle-initial} to 99",
    ),
    _between("announce-initial", 0, 100000),
    _between("announce-max", 0, 100000),
    _between("announce-rounds", 0, 1000),
    _Limit("announce-step", lambda value, _: 1 <= value <= 10000, "a value between 0 and 10000"),
)
"""In the order in which QEMU looks at them, with its words, which are wrong about announce-step."""

_LEVELS = frozenset({"multifd-zlib-level", "multifd-zstd-level"})
_BACKGROUND_EXCLUDES = [
    "postcopy-ram",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "return-path",
    "multifd",
    "pause-before-switchover",
    "auto-converge",
    "release-ram",
    "rdma-pin-all",
    "compress",
    "xbzrle",
    "x-colo",
    "validate-uuid",
    "zero-copy-send",
]


class MigrationSettings:
    """Capabilities and parameters of one machine.

    :ivar capabilities: those that are on.
    :ivar parameters: name -> value, of all releases; :func:`DEFAULTS` where nothing was set.
    :ivar counted: members of MigrationStats that are not 0, of the last time that the machine was saved in a snapshot,
        which counts as a migration; None if it never was.
    """

    __slots__ = ("capabilities", "counted", "parameters")

    def __init__(self) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self.parameters: dict[str, Any] = dict(DEFAULTS)
        self.counted: dict[str, int] | None = None

    @property
    def bitmap_mapping(self) -> dict[str, Json] | None:
        """Node-name -> entry of ``block-bitmap-mapping``; None if it was never set."""
        given = self.parameters.get("block-bitmap-mapping")
        return None if given is None else {each["node-name"]: each for each in given}

    def note_saved(self, transferred: int, passes: int) -> None:
        """A machine without memory was saved in a snapshot (qemu_savevm_state, migration/savevm.c, QEMU 10.0).

        :param transferred: bytes.
        :param passes: how often the memory was looked through.
        """
        self.counted = {
            "transferred": transferred,
            "downtime-bytes": END_OF_MEMORY,
            "dirty-sync-count": passes,
            "page-size": PAGE,
        }

    def set_capabilities(self, wanted: Mapping[str, bool], profile: Profile) -> None:
        """Turn capabilities on and off.

        :raises QmpError: those that would be on do not go together; nothing has changed then.
        """
        new = self.capabilities.difference(wanted).union(name for name, state in wanted.items() if state)
        self._check_together(new, profile)
        self.capabilities = new

    def _check_together(self, on: frozenset[str], profile: Profile) -> None:
        """Refuse capabilities that exclude each other, in the order of migrate_caps_check."""
        for refused, text in _conflicts(on, self.parameters, profile):
            if refused:
                raise QmpError(text)

    def set_parameters(self, given: Mapping[str, Any], profile: Profile) -> None:
        """Set parameters, given under their names on the wire, with ``""`` for null.

        :raises QmpError: a value is out of range, or the mapping of bitmaps is ambiguous; nothing has changed then.
        """
        values = {**self.parameters, **given}
        _check_ranges(given, values, profile)
        if "block-bitmap-mapping" in given:
            check_bitmap_mapping(given["block-bitmap-mapping"])
        self._check_with_capabilities(values)
        if not profile.migration_levels_checked:
            given = {name: value for name, value in given.items() if name not in _LEVELS}
        self.parameters.update(given)

    def _check_with_capabilities(self, values: Mapping[str, Any]) -> None:
        plain = values["multifd-compression"] == "none" and not values["tls-creds"]
        for name, subject in (("zero-copy-send", "Zero copy"), ("mapped-ram", "Mapped-ram")):
            if name in self.capabilities and not plain:
                raise QmpError(f"{subject} only available for non-compressed non-TLS multifd migration")


def _conflicts(on: frozenset[str], parameters: Mapping[str, Any], profile: Profile) -> Iterator[tuple[bool, str]]:
    """Whether capabilities do not go together, and the text, in QEMU's order."""

    def both(*names: str) -> bool:
        return on.issuperset(names)

    plain = parameters["multifd-compression"] == "none" and not parameters["tls-creds"]
    yield (
        profile.colo_needs_return_path and "x-colo" in on and "return-path" not in on,
        "Capability 'x-colo' requires capability 'return-path'",
    )
    yield both("postcopy-ram", "x-ignore-shared"), "Postcopy is not compatible with ignore-shared"
    yield (
        profile.postcopy_excludes_multifd and both("postcopy-ram", "multifd"),
        "Postcopy is not yet compatible with multifd",
    )
    for name in _BACKGROUND_EXCLUDES:
        yield both("background-snapshot", name), f"Background-snapshot is not compatible with {name}"
    yield (
        "zero-copy-send" in on and not ("multifd" in on and plain and on.isdisjoint({"compress", "xbzrle"})),
        "Zero copy only available for non-compressed non-TLS multifd migration",
    )
    yield "postcopy-preempt" in on and "postcopy-ram" not in on, "Postcopy preempt requires postcopy-ram"
    yield both("postcopy-preempt", "compress"), "Postcopy preempt not compatible with compress"
    yield both("multifd", "compress"), "Multifd is not compatible with compress"
    yield (
        "switchover-ack" in on and "return-path" not in on,
        "Capability 'switchover-ack' requires capability 'return-path'",
    )
    yield (
        both("dirty-limit", "auto-converge"),
        "dirty-limit conflicts with auto-converge either of then available currently",
    )
    yield "dirty-limit" in on, "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"
    yield profile.multifd_excludes_xbzrle and both("multifd", "xbzrle"), "Multifd is not compatible with xbzrle"
    yield both("mapped-ram", "xbzrle"), "Mapped-ram migration is incompatible with xbzrle"
    yield both("mapped-ram", "postcopy-ram"), "Mapped-ram migration is incompatible with postcopy"


def _check_ranges(given: Mapping[str, Any], values: Mapping[str, Any], profile: Profile) -> None:
    """Refuse values out of range, in the order of migrate_params_check."""
    shown = _with_dashes if profile.migration_options_have_dashes else _with_underscores
    for limit in _LIMITS:
        if limit.name not in given or (limit.name in _LEVELS and not profile.migration_levels_checked):
            continue
        if not limit.accepts(given[limit.name], values):
            words = limit.words.replace("{cpu-throttle-initial}", shown("cpu-throttle-initial"))
            raise QmpError(_refusal(shown(limit.name), words, profile))
    period = given.get("x-vcpu-dirty-limit-period", 1)
    if not 1 <= period <= 1000:
        raise QmpError(_refusal("x-vcpu-dirty-limit-period", "a value between 1 and 1000", profile))
    if given.get("vcpu-dirty-limit", 1) < 1:
        raise QmpError(f"Parameter '{shown('vcpu-dirty-limit')}' must be greater than 1 MB/s")


def _refusal(name: str, words: str, profile: Profile) -> str:
    if profile.migration_options_have_dashes:
        return f"Option {name} expects {words}"
    return f"Parameter '{name}' expects {words}"


def _with_dashes(name: str) -> str:
    return name


def _with_underscores(name: str) -> str:
    return name.replace("-", "_")


def check_bitmap_mapping(nodes: list[Json]) -> None:
    """Refuse a mapping of nodes and bitmaps that would be ambiguous, or an alias that does not fit into the stream.

    :raises QmpError: in the order of check_dirty_bitmap_mig_alias_map (migration/block-dirty-bitmap.c, QEMU 10.0).
    """
    names: set[str] = set()
    aliases: set[str] = set()
    for node in nodes:
        name, alias = node["node-name"], node["alias"]
        if not is_well_formed(alias):
            raise _bad_mapping(f"The node alias '{alias}' is not well-formed")
        if len(alias) > MAXIMUM_ALIAS:
            raise _bad_mapping(f"The node alias '{alias}' is longer than {MAXIMUM_ALIAS} bytes")
        if len(name) > MAXIMUM_NODE_NAME:
            raise _bad_mapping(f"The node name '{name}' is longer than {MAXIMUM_NODE_NAME} bytes")
        if name in names:
            raise _bad_mapping(f"The node name '{name}' is mapped twice")
        if alias in aliases:
            raise _bad_mapping(f"The node alias '{alias}' is used twice")
        names.add(name)
        aliases.add(alias)
        _check_bitmaps(name, alias, node["bitmaps"])


def _check_bitmaps(node: str, node_alias: str, bitmaps: list[Json]) -> None:
    names: set[str] = set()
    aliases: set[str] = set()
    for bitmap in bitmaps:
        name, alias = bitmap["name"], bitmap["alias"]
        if len(alias.encode()) > MAXIMUM_ALIAS:
            raise _bad_mapping(f"The bitmap alias '{alias}' is longer than {MAXIMUM_ALIAS} bytes")
        if len(name.encode()) > MAXIMUM_NAME_BYTES:
            raise _bad_mapping(f"The bitmap name '{name}' is longer than {MAXIMUM_NAME_BYTES} bytes")
        if name in names:
            raise _bad_mapping(f"The bitmap '{node}'/'{name}' is mapped twice")
        if alias in aliases:
            raise _bad_mapping(f"The bitmap alias '{node_alias}'/'{alias}' is used twice")
        names.add(name)
        aliases.add(alias)


def _bad_mapping(reason: str) -> QmpError:
    return QmpError(f"Invalid mapping given for block-bitmap-mapping: {reason}")
