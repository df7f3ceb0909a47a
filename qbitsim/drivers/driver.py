"""What a block driver is: a node class with a declaration of all that is said of it elsewhere.

Theory of operation
===================

1. A driver is one module of this folder with a node class under :func:`driver`. The options of blockdev-add and its
   schema, the formats that can be created, the protocols in file names, what blockdev-reopen can change and what is
   refused all follow from that; nobody else knows a driver by its name.
2. The names of the drivers stand in :data:`qbitsim.qapi.blockdev.BLOCKDEV_DRIVER`. The module of a driver is imported
   when its declaration is asked for: whoever opens a qcow2 file does not wait for the others.
3. What QEMU has beside the drivers that are declared is in :mod:`qbitsim.drivers.not_emulated`.
"""

from __future__ import annotations

from qbitsim.block.node import Node
from qbitsim.errors import UnsupportedError
from qbitsim.light_library import import_module
from qbitsim.light_typing import TypeVar
from qbitsim.qapi.blockdev import BLOCKDEV_DRIVER, BlockdevOptions
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.schema import struct_info
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.drivers.options import Options


class DriverNode(Node):
    """A node that clients can open by the name of its driver."""

    __slots__ = ()

    graph: Graph

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Open the node that ``options`` describe, with its children.

        The options have been checked against the schema and by :meth:`Driver.check`.

        :raises QmpError: with QEMU's text; whoever called closes what is open by then.
        """
        raise NotImplementedError

    @classmethod
    def check_options(cls, options: Mapping[str, object]) -> None:
        """Refuse options whose values are not emulated, or that QEMU refuses before it opens anything.

        :raises QmpError: with QEMU's text, or an :class:`UnsupportedError`.
        """

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """Put what a file name says among the options; it may have one of the driver's protocols in front.

        :return: the children that have names in it, with these (bdrv_parse_filename).
        :raises QmpError: the driver takes no such name, or not beside these options.
        :raises UnsupportedError: here: there is nothing to open by name.
        """
        del name, options
        raise UnsupportedError(f"the protocol '{cls.driver}' in a file name")

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """Give options that only command lines have the names and places that QAPI has for them.

        :raises QmpError: with QEMU's text, for what it refuses when it has opened no child but ``file``.
        """

    @classmethod
    def probe(cls, opener: Opener, options: Options) -> str:
        """The format of the image in what ``options`` describe: raw here, for there is nothing to look at.

        :raises QmpError: it cannot be opened.
        """
        del opener, options
        return "raw"


@record(kw_only=True)
class Driver:
    """A declared driver.

    :ivar options: the struct of its options in blockdev-add.
    :ivar since: the first release that has it; None for all that are emulated.
    :ivar creates: whether QEMU makes images with it.
    :ivar protocols: what file names for it begin with, in front of a colon.
    :ivar children: the options that are nodes, but for a backing file, in the order in which they are opened.
    :ivar accepts: option -> the only values that are emulated; none for an option that is always refused.
    :ivar sizes: options that are bytes, so that ``-drive`` takes them with a suffix.
    :ivar reopens: options that blockdev-reopen can change; None if the driver cannot be reopened.
    :ivar resets: those among them that it can leave out, for then they go back to their defaults (mutable_opts).
    """

    name: str
    node: type[DriverNode]
    options: type[BlockdevOptions]
    since: str | None
    creates: bool
    protocols: frozenset[str]
    children: tuple[str, ...]
    accepts: Mapping[str, tuple[object, ...]]
    sizes: frozenset[str]
    reopens: frozenset[str] | None
    resets: frozenset[str]

    def check(self, options: Mapping[str, object]) -> None:
        """Refuse options of a node that are not emulated and would change something.

        :raises UnsupportedError: naming the option; or QEMU's own refusal.
        """
        for name, values in self.accepts.items():
            if name in options and options[name] not in values:
                raise UnsupportedError(f"'{name}' of {self.name}")
        self.node.check_options(options)


_MODULES = {"host_cdrom": "host_device", "null-aio": "null", "null-co": "null"}
"""Where a driver is declared, if not in the module that has its name."""

_declared: dict[str, Driver] = {}


def _import(name: str) -> Driver:
    import_module(f"{__package__}.{_MODULES.get(name, name.replace('-', '_'))}")
    return _declared[name]


DRIVERS: Mapping[str, Driver] = Lazy(BLOCKDEV_DRIVER.values, _import)
"""The drivers that are emulated, by name."""

struct_info(BlockdevOptions).branches = Lazy(sorted(DRIVERS), lambda name: DRIVERS[name].options)

_N = TypeVar("_N", bound=DriverNode)


def driver(
    name: str,
    *,
    options: type[BlockdevOptions],
    format: bool = False,  # noqa: A002 - QEMU's word
    creates: bool = False,
    protocols: Iterable[str] = (),
    children: Iterable[str] | None = None,
    filename_prefix: str = "",
    strong: Iterable[str] = (),
    accepts: Mapping[str, tuple[object, ...]] | None = None,
    sizes: Iterable[str] = (),
    reopens: Iterable[str] | None = None,
    resets: Iterable[str] | None = None,
) -> Callable[[type[_N]], type[_N]]:
    """Declares the node class below as the block driver ``name``.

    :param format: it shows a disk that is in an image file.
    :param children: by default, ``file`` for what is no protocol.
    :param filename_prefix: what the names of its children get in front to become its own: ``blkdebug::``.
    :param resets: by default, all of ``reopens``.
    :param strong: options that change what the node is, so that a file name has to tell them (strong_runtime_opts).
    """

    def declare(cls: type[_N]) -> type[_N]:
        assert name in DRIVERS, name
        assert name not in _declared, name
        cls.driver, cls.is_format = name, format
        cls.filename_prefix, cls.strong_options = filename_prefix, tuple(strong)
        _declared[name] = Driver(
            name=name,
            node=cls,
            options=options,
            since=BLOCKDEV_DRIVER.values[name][0],
            creates=creates,
            protocols=frozenset(protocols),
            children=tuple(children if children is not None else () if protocols else ("file",)),
            accepts=accepts or {},
            sizes=frozenset(sizes),
            reopens=None if reopens is None else frozenset(reopens),
            resets=frozenset((reopens or ()) if resets is None else resets),
        )
        return cls

    return declare


def is_image_format(name: str) -> bool:
    """Whether image files can have the format ``name`` here."""
    return name in DRIVERS and DRIVERS[name].node.is_format
