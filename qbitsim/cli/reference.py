"""``qbitsim reference``: every command, argument, event and driver, from the declarations that also run.

A row says since which QEMU something exists, in which profiles it is, and how well it is covered (see
:mod:`qbitsim.cli.coverage`). ``qbitsim/docs/reference.md`` has the Markdown form between :data:`BEGIN` and :data:`END`.
With the name of a document it shows that one instead (see :mod:`qbitsim.cli.documents`).
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from qbitsim.cli import coverage, documents
from qbitsim.cli.coverage import DRIVER, EVERY_DRIVER, Coverage
from qbitsim.commands.offered import COMMANDS, registry_for
from qbitsim.control.registry import controlled_registry_for
from qbitsim.drivers.blkdebug import BlkdebugInjectErrorOptions
from qbitsim.drivers.driver import DRIVERS, Driver
from qbitsim.enums import StrEnum
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES
from qbitsim.qapi.blockdev import BLOCKDEV_DRIVER, BlockdevOptions
from qbitsim.qapi.not_emulated import NOT_EMULATED
from qbitsim.qapi.order import schema_order
from qbitsim.qapi.registry import CONTROL_COMMANDS, DECLARED_EVENTS, Command, Event, TransactionAction
from qbitsim.qapi.schema import ArgInfo, EnumInfo, annotated, struct_info
from qbitsim.qapi.structs import struct_fields
from qbitsim.terminal.errors import CliError
from qbitsim.terminal.streams import show

BEGIN = "<!-- reference:begin -->"
END = "<!-- reference:end -->"
OWN = """\
Besides, a machine that may be controlled (`qbitsim serve --control`, `Machine(control=True)`) has commands of its own.
Sizes and offsets are bytes or texts such as `"64k"`, errnos numbers or names, seconds those of virtual time, `now` its
nanoseconds; None is an argument that is left out."""

_BLOCKDEV = "2.9"
"""The first release with blockdev-add as it is today."""

_NONE: Mapping[str, str] = {}
_PARTLY: dict[tuple[type, str], str] = {
    (BlkdebugInjectErrorOptions, "delay_ns"): "only 0",
}
"""(class, member) -> the values that are not refused. :mod:`qbitsim.drivers` says it of options of drivers."""
_LIST: Any = {"subsequent_indent": "  ", "break_on_hyphens": False, "break_long_words": False}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the reference.

    :ivar subject: what :mod:`.coverage` counts.
    :ivar members: the arguments, options or data, as text.
    :ivar action: ``yes``, ``grouped``, or since when it is an action; empty for what is none.
    """

    name: str
    subject: str
    since: str
    profiles: str
    members: tuple[str, ...]
    action: str = ""


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One of qbitsim's own commands, which no QEMU has."""

    name: str
    members: tuple[str, ...]
    what: str


def run(arguments: argparse.Namespace) -> int:
    """Print the reference or another document, or put the tables into a file, and return the exit status.

    :raises CliError: a file cannot be read or written, or has no place for them; there is no such document, or it
        was to be updated.
    """
    if arguments.document is not None:
        if arguments.update is not None:
            raise CliError("--update is for the tables alone")
        show(documents.text(arguments.document).removesuffix("\n"))
        return 0
    counted = coverage.read(arguments.conformance, arguments.draws)
    if arguments.update is not None:
        _update(arguments.update, markdown(counted))
    elif arguments.markdown:
        show(markdown(counted))
    else:
        show(plain(counted))
    return 0


def _update(path: Path, text: str) -> None:
    try:
        old = path.read_text(encoding="utf-8")
        path.write_text(replaced(old, text), encoding="utf-8")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise CliError(f"{path}: there are no lines {BEGIN} and {END}") from None


def replaced(document: str, text: str) -> str:
    """The document with ``text`` between the lines :data:`BEGIN` and :data:`END`.

    :raises ValueError: it has no such lines.
    """
    head, _, rest = document.partition(f"{BEGIN}\n")
    _, found, tail = rest.partition(f"{END}\n")
    if not found:
        raise ValueError("no place for the reference")
    return f"{head}{BEGIN}\n{text}\n{END}\n{tail}"


# -- what is declared


def commands(counted: Coverage) -> list[Row]:
    """The commands in QEMU's order, and then what is an action only."""
    declared = {name: found[-1] for name, found in COMMANDS.items()}
    ordered = schema_order((name for name, each in declared.items() if each.standalone), DEFAULT_PROFILE)
    actions = [name for name, each in declared.items() if not each.standalone]
    return [_command(declared[name], counted) for name in [*ordered, *actions]]


def _command(command: Command, counted: Coverage) -> Row:
    members = _members(command.arguments, command.name, counted) if command.arguments is not None else ()
    return _row(command, members, _action(command))


def _row(declared: Command | Event, members: Iterable[str], action: str = "") -> Row:
    name, since = declared.name, declared.since
    return Row(name, name, since or "", _offered(since, declared.until), tuple(members), action)


def _action(command: Command) -> str:
    if not command.action:
        return ""
    word = "grouped" if command.groupable else "yes" if command.standalone else "only"
    return f"{word} ({command.action_since})" if command.action_since else word


def events() -> list[Row]:
    """The events in QEMU's order."""
    declared = {each.name: each for each in DECLARED_EVENTS}
    return [_row(declared[name], _data(declared[name].data)) for name in schema_order(declared, DEFAULT_PROFILE)]


def drivers(counted: Coverage) -> list[Row]:
    """The block drivers, each with the options of its own; first those that all have."""
    common = _own(BlockdevOptions, EVERY_DRIVER, counted)
    rows = [Row(EVERY_DRIVER, EVERY_DRIVER, _BLOCKDEV, _offered(_BLOCKDEV), tuple(common))]
    for name in sorted(DRIVERS):
        driver, subject = DRIVERS[name], f"{DRIVER} {name}"
        first = driver.since or _BLOCKDEV
        options = _own(driver.options, subject, counted, struct_fields(BlockdevOptions), _refused_options(driver))
        rows.append(Row(name, subject, first, _offered(first), tuple(options)))
    return rows


def _refused_options(driver: Driver) -> dict[str, str]:
    """Option -> what of it is refused."""
    return {
        name: f"only {' or '.join(json.dumps(value) for value in values)}" if values else "refused"
        for name, values in driver.accepts.items()
    }


def refused() -> dict[str, list[str]]:
    """What QEMU has and qbitsim refuses, by kind. Options of drivers are marked where they are listed."""
    newest = registry_for(DEFAULT_PROFILE)
    kinds = {
        "the command": sorted(name for name in NOT_EMULATED if name not in COMMANDS),
        BLOCKDEV_DRIVER.noun: sorted(BLOCKDEV_DRIVER.not_declared),
    }
    for cls in _enumerations(each.arguments for each in newest.commands()):
        info = _enum_info(cls)
        if info.refused:
            kinds[info.noun] = sorted(info.refused)
    return kinds


def own_commands() -> list[OwnRow]:
    """Qbitsim's own commands, by name."""
    controlled_registry_for(DEFAULT_PROFILE)  # they are declared then
    return [_own_command(found[-1]) for _, found in sorted(CONTROL_COMMANDS.items())]


def _own_command(command: Command) -> OwnRow:
    text = inspect.getdoc(command.handler) or ""
    said = dict(re.findall(r":param (\w+): ((?:.+\n?)(?:    .+\n?)*)", text))
    details = ""
    if command.arguments is not None:
        details = _plain_words(" ".join((inspect.getdoc(command.arguments) or "").split())).partition(": ")[2]
    members = []
    for name, (optional, info) in struct_fields(command.arguments).items() if command.arguments is not None else ():
        wire = info.name or name.replace("_", "-")
        meaning = " ".join(said.get(name, "").split()).rstrip(".")
        members.append(f"`[{wire}]`" if optional else f"`{wire}`")
        if meaning:
            members[-1] += f" ({_plain_words(meaning)})"
    what = _plain_words(" ".join(text.partition("\n\n")[0].split()))
    return OwnRow(command.name, tuple(members), f"{what} {details[:1].upper()}{details[1:]}".rstrip())


def _plain_words(text: str) -> str:
    """Without the marks of docstrings, and with the values instead of the name of their list."""
    text = re.sub(r":\w+:`[.~]*([^`]*)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"one of `([\w.]+)\.([A-Z]+)`", lambda found: f"one of {_values(found[1], found[2])}", text)


def _values(module: str, name: str) -> str:
    return ", ".join(f"`{each}`" for each in getattr(import_module(module), name))


# -- members


def _members(cls: type, subject: str, counted: Coverage) -> Iterator[str]:
    """The arguments of a class and of its branches, each name once; options of nodes have a table of their own."""
    if issubclass(cls, BlockdevOptions):
        yield "see the drivers"
        return
    yield from _own(cls, subject, counted)
    seen = set(struct_fields(cls))
    for branch in dict.fromkeys(struct_info(cls).branches.values()):
        yield from _own(branch, subject, counted, seen)
        seen |= set(struct_fields(branch))


def _own(
    cls: type, subject: str, counted: Coverage, skipped: Collection[str] = (), refused: Mapping[str, str] = _NONE
) -> Iterator[str]:
    """The members of ``cls`` but those that are ``skipped``: ``[persistent]` (2.10) 9``.

    In brackets if it may be left out, then the first release that has it, then how many scenarios and draws use it.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    for name, (optional, info) in struct_fields(cls).items():
        if name in skipped:
            continue
        wire = info.name or name.replace("_", "-")
        text = _named(wire, info, optional=optional) + _times(counted, f"{subject} {wire}")
        limits = refused.get(wire) or _PARTLY.get((cls, name))
        if limits is not None:
            yield f"{text} {limits}"
            continue
        inner = [part for each in _structs(hints[name]) for part in _members(each, f"{subject} {wire}", counted)]
        yield f"{text} {{{', '.join(dict.fromkeys(inner))}}}" if inner else text


def _named(wire: str, info: ArgInfo, *, optional: bool) -> str:
    text = f"`[{wire}]`" if optional else f"`{wire}`"
    if info.until is not None:
        return f"{text} ({info.since or ''}, gone in {info.until})"
    return f"{text} ({info.since})" if info.since is not None else text


def _times(counted: Coverage, subject: str) -> str:
    """How many scenarios use it, and behind a plus how many drawn steps."""
    scenarios, draws = counted.of(subject), counted.draws_of(subject)
    return (f" {scenarios or 0}" if scenarios or draws else "") + (f"+{draws}" if draws else "")


def _structs(annotation: object) -> list[type]:
    """The declared classes inside an annotation, without those that have tables of their own."""
    parts = annotated(annotation)
    if parts is not None:
        return _structs(parts[0])
    if isinstance(annotation, type):
        own_table = issubclass(annotation, BlockdevOptions | TransactionAction | StrEnum)
        return [annotation] if hasattr(annotation, "__qapi_fields__") and not own_table else []
    return [each for part in typing.get_args(annotation) for each in _structs(part)]


def _data(cls: type | None) -> Iterator[str]:
    """The members of an event's data."""
    for name, hint in (typing.get_type_hints(cls, include_extras=True) if cls is not None else {}).items():
        info, optional = ArgInfo(), False
        while args := typing.get_args(hint):
            optional |= typing.get_origin(hint) is typing.NotRequired
            info = next((each for each in args[1:] if isinstance(each, ArgInfo)), info)
            hint = args[0]  # noqa: PLW2901 - one wrapper after the other comes off
        yield _named(name, info, optional=optional and not info.required)


def _enumerations(classes: Iterable[object]) -> list[type[StrEnum]]:
    """Every enumeration that the classes, and those inside them, mention; each once."""
    found: dict[type[StrEnum], None] = {}
    seen: set[object] = set()
    todo = list(classes)
    while todo:
        each = todo.pop(0)
        parts = annotated(each)
        if parts is not None:
            todo.append(parts[0])
        elif isinstance(each, type) and issubclass(each, StrEnum):
            found[each] = None
        elif isinstance(each, type) and hasattr(each, "__qapi_fields__"):
            if each not in seen:
                seen.add(each)
                todo += typing.get_type_hints(each, include_extras=True).values()
                todo += struct_info(each).branches.values()
        else:
            todo += typing.get_args(each)
    return list(found)


def _enum_info(cls: type[StrEnum]) -> EnumInfo:
    info: EnumInfo = cls.__dict__.get("__qapi_enum__", EnumInfo({}, {}, {}, {}, ""))
    return info


def _offered(since: str | None, until: str | None = None) -> str:
    """The profiles that have it."""
    return " ".join(name for name, each in PROFILES.items() if each.offers(since, until))


# -- as text


def markdown(counted: Coverage) -> str:
    """Three tables, a list, and a table of qbitsim's own commands."""
    return "\n\n".join(
        [
            _table("command", "arguments", commands(counted), counted),
            _table("event", "data", events(), counted),
            _table("driver", "options", drivers(counted), counted),
            "Refused, with an error that begins with `qbitsim does not emulate`:",
            "\n".join(
                textwrap.fill(f"- {kind} {', '.join(f'`{name}`' for name in names)}", 120, **_LIST)
                for kind, names in refused().items()
            ),
            OWN,
            _own_table(),
        ]
    )


def _own_table() -> str:
    rows = [["own command", "arguments", "what it does"], ["---"] * 3]
    return _lines_of([*rows, *([f"`{row.name}`", ", ".join(row.members), row.what] for row in own_commands())])


def _table(kind: str, members: str, rows: list[Row], counted: Coverage) -> str:
    """A table; only commands can be actions and have draws."""
    is_command = kind == "command"
    headings = [kind, "since", "in", *(["action"] if is_command else []), members, "scenarios"]
    if is_command:
        headings.append("draws")
    lines = [headings, ["---"] * len(headings)]
    for row in rows:
        cells = [f"`{row.name}`" if row.name != EVERY_DRIVER else row.name, row.since, row.profiles]
        cells += [row.action] if is_command else []
        cells += [", ".join(row.members), _number(counted.of(row.subject))]
        cells += [_number(counted.draws_of(row.subject))] if is_command else []
        lines.append(cells)
    return _lines_of(lines)


def _lines_of(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _number(count: int | None) -> str:
    return f"{count:,}" if count is not None else "\N{EN DASH}"


def plain(counted: Coverage) -> str:
    """For the terminal: a name, its releases, and its members below."""
    blocks = []
    for title, rows in (("COMMANDS", commands(counted)), ("EVENTS", events()), ("DRIVERS", drivers(counted))):
        blocks.append(title)
        for row in rows:
            action = f"; action: {row.action}" if row.action else ""
            head = f"{row.name}  (since {row.since}; in {row.profiles}{action}){_times(counted, row.subject)}"
            text = ", ".join(row.members).replace("`", "")
            below = textwrap.wrap(text, 76, initial_indent="    ", subsequent_indent="    ")
            blocks.append("\n".join([head, *below]))
    blocks.append("REFUSED")
    for kind, names in refused().items():
        blocks.append(textwrap.fill(f"{kind} {', '.join(names)}", 78, subsequent_indent="    ", break_on_hyphens=False))
    blocks.append("OWN COMMANDS (of a machine that may be controlled: --control)")
    for own in own_commands():
        text = ", ".join(own.members).replace("`", "")
        below = [
            line
            for part in (own.what.replace("`", ""), text)
            for line in textwrap.wrap(part, 76, initial_indent="    ", subsequent_indent="    ")
        ]
        blocks.append("\n".join([own.name, *below]))
    return "\n\n".join(blocks)
