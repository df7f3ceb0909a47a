"""What a command takes, in words, from the schema; and since which QEMU it exists, as far as qbitsim knows."""

from __future__ import annotations

from collections.abc import Iterator

from qbitsim.commands.offered import COMMANDS
from qbitsim.shell.schema import Member, Schema


def _short(member: Member) -> str:
    return f"[{member.name}=]" if member.optional else f"{member.name}="


def _in_order(members: dict[str, Member]) -> list[Member]:
    return sorted(members.values(), key=lambda member: member.optional)


def about(schema: Schema, name: str) -> Iterator[str]:
    """Lines that say what a command, or an action of a transaction, takes and returns."""
    command = name in schema.commands
    since = _since().get(name)
    what = "command" if command else "action of a transaction"
    yield f"{name}: {what}{f', since QEMU {since}' if since else ''}"
    if command and name in schema.actions:
        yield "  also an action of a transaction"
    if not schema.has_types:
        yield "  this server does not tell what it takes"
        return
    type_name = schema.arguments(name) if command else schema.actions[name]
    yield from _members(schema, type_name, "  ")
    if not schema.members(type_name):
        yield "  no arguments"
    if command and schema.members(schema.returns(name)):
        yield f"  returns {', '.join(schema.members(schema.returns(name)))}"
    elif command and schema.kind(schema.returns(name)) != "object":
        yield f"  returns {schema.word(schema.returns(name))}"


def _members(schema: Schema, type_name: str, indent: str) -> Iterator[str]:
    members = _in_order(schema.members(type_name))
    width = max((len(member.name) for member in members), default=0)
    tag = schema.tag(type_name)
    for member in members:
        needed = "" if member.optional else ", needed"
        yield f"{indent}{member.name:<{width}}  {schema.word(member.type)}{needed}"
        if len(schema.values(member.type)) > 6 and member.name != tag:
            yield f"{indent}  {', '.join(schema.values(member.type))}"
    for case in schema.cases(type_name):
        own = [each for each in schema.members(type_name, {tag or "": case}).values() if each not in members]
        if own:
            yield f"{indent}{tag}={case}: {' '.join(map(_short, sorted(own, key=lambda each: each.optional)))}"


def _since() -> dict[str, str]:
    """Since which release the commands exist that qbitsim declares."""
    return {name: since for name, found in COMMANDS.items() if (since := found[-1].since) is not None}
