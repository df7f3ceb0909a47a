"""A line that people type, to the message that is sent; and back.

``NAME key=value ...`` takes the types of the values from the schema; see :mod:`qbitsim.shell.values`. A transaction is
written as ``transaction( ACTION key=value ... )``, with one action per line or between semicolons, and behind the
bracket what else it takes; or with the list of its actions as JSON. A JSON object is sent as it is.

A command that the schema does not know is sent, too: it is for the server to refuse it. One that is known to the human
monitor, such as ``info block``, is sent to that, and so is ``block_resize drive0 64M``, of which no word is
``key=value``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache

from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.profiles import PROFILES
from qbitsim.shell.schema import UNKNOWN, Schema
from qbitsim.shell.values import Leaf, Tree, object_of, value_of
from qbitsim.shell.words import IncompleteError, LineError, Word, parse_json, words

TRANSACTION = re.compile(r"\s*transaction\s*\(")
"""How a transaction begins that is written action by action."""

_BARE = re.compile(r"[^\s\"'{\[(;][^\s;]*")


def parse(line: str, schema: Schema) -> Json:
    """The message that a line stands for.

    :raises LineError: none; IncompleteError: none yet.
    """
    if line.lstrip().startswith("{"):
        return _whole(line)
    opening = TRANSACTION.match(line)
    if opening is not None:
        return _transaction(line, opening.end(), schema)
    if _is_human(line, schema):
        return _message("human-monitor-command", {"command-line": line.strip()})
    first, *rest = _complete(words(line))
    if first.text == "transaction" and rest and rest[0].key is None and rest[0].text.startswith("["):
        actions = Word(f"actions={rest[0].text}", rest[0].start - 8, rest[0].start)
        rest = [actions, *rest[1:]]
    return _message(first.text, arguments(rest, schema.arguments(first.text), schema, first.text))


def _is_human(line: str, schema: Schema) -> bool:
    """Whether a line is one of the human monitor; of a command that both have, whether it is written so."""
    name, *rest = line.split()
    if name not in human_commands():
        return False
    return name not in schema.commands or (bool(rest) and "=" not in rest[0])


@cache
def human_commands() -> frozenset[str]:
    """The commands of the human monitor that some release has, without the topics of ``info``."""
    return frozenset(name for profile in PROFILES.values() for name in profile.hmp_commands if " " not in name)


def _whole(line: str) -> Json:
    place = len(line) - len(line.lstrip())
    value = parse_json(line.strip(), place)
    assert isinstance(value, dict)
    return value


def _message(name: str, given: Mapping[str, object]) -> Json:
    return {"execute": name, **({"arguments": given} if given else {})}


def _complete(found: Iterator[Word]) -> Iterator[Word]:
    for word in found:
        if not word.complete:
            kind = LineError if word.value[0] == '"' else IncompleteError  # JSON's texts end on their line
            raise kind(f"{word.value[0]} is not closed", word.value_start)
        yield word


def arguments(given: list[Word], type_name: str, schema: Schema, what: str) -> Json:
    """The arguments that words stand for.

    :raises LineError: they are no arguments of that type.
    """
    return object_of(tree_of(given, type_name, schema, strict=True), type_name, schema, what)


def tree_of(given: list[Word], type_name: str, schema: Schema, *, strict: bool) -> Tree:
    """Words as they nest.

    :param strict: whether a word that does not fit is an error; it is left out otherwise.
    :raises LineError: two words contradict each other, or one is no ``key=value``.
    """
    tree: Tree = {}
    for word in given:
        try:
            _put(tree, word, schema.members(type_name))
        except LineError:
            if strict:
                raise
    return tree


def _put(tree: Tree, word: Word, members: Mapping[str, object]) -> None:
    key = word.key
    if not key:
        raise LineError(f"'{word.text}' is no argument: write key=value", word.start)
    path = [key] if key in members else key.split(".")
    if "" in path:
        raise LineError(f"'{key}' has an empty part", word.start)
    branch = tree
    for depth, part in enumerate(path[:-1], start=1):
        below = branch.setdefault(part, {})
        if isinstance(below, Leaf):
            raise LineError(f"'{'.'.join(path[:depth])}' and '{key}' exclude each other", word.start)
        branch = below
    if path[-1] in branch:
        raise LineError(f"'{key}' is given twice", word.start)
    branch[path[-1]] = Leaf(word.value, word.start, key)


# -- transactions


def _transaction(line: str, start: int, schema: Schema) -> Json:
    actions, end = actions_of(line, start)
    if end is None:
        raise IncompleteError("the transaction has no ')'", start - 1)
    more = arguments(list(_complete(words(line, end))), schema.arguments("transaction"), schema, "transaction")
    if "actions" in more:
        raise LineError("the actions of the transaction are given twice", end)
    return _message("transaction", {"actions": [_action(action, schema) for action in actions], **more})


def actions_of(line: str, start: int) -> tuple[list[list[Word]], int | None]:
    """The words of each action of a transaction, and the index behind its bracket; None if there is none.

    :param start: the index behind the opening bracket.
    """
    actions: list[list[Word]] = [[]]
    before = start
    for word in words(line, start):
        if "\n" in line[before : word.start]:
            actions.append([])
        before = word.end
        bare = word.complete and word.value[:1] not in ("{", "[", "'", '"')
        closes = word.text == ")" or (bare and word.text.endswith(")") and not line[word.end :].strip())
        divides = bare and word.text.endswith(";")
        text = word.text[:-1] if closes or divides else word.text
        if text:
            actions[-1].append(Word(text, word.start, min(word.value_start, word.start + len(text)), word.complete))
        if closes:
            return [action for action in actions if action], word.end
        if divides:
            actions.append([])
    return actions, None


def _action(action: list[Word], schema: Schema) -> Json:
    first, *rest = _complete(iter(action))
    name = first.text
    if schema.actions and name not in schema.actions:
        raise LineError(f"a transaction has no action '{name}'{nearest(name, schema.actions)}", first.start)
    return {"type": name, "data": arguments(rest, schema.actions.get(name, UNKNOWN), schema, name)}


# -- and back


def write(message: Json, schema: Schema) -> str:
    """A message as people would type it; as JSON if it cannot be written otherwise."""
    name, given = message.get("execute"), message.get("arguments", {})
    if message.keys() <= {"execute", "arguments"} and isinstance(name, str) and isinstance(given, dict):
        line = " ".join([name, *_written(given, schema.arguments(name), schema)])
        try:
            if parse(line, schema) == _message(name, given) and _BARE.fullmatch(name):
                return line
        except (LineError, ValueError):
            pass  # a name that is none, or arguments that this command does not have
    return json.dumps(message)


def _written(given: Json, type_name: str, schema: Schema) -> Iterator[str]:
    tags = {key: value for key, value in given.items() if isinstance(value, str)}
    members = schema.members(type_name, tags)
    for key, value in given.items():
        member = members.get(key)
        yield f"{key}={written_value(value, member.type if member is not None else UNKNOWN, schema)}"


def written_value(value: object, type_name: str, schema: Schema) -> str:
    """A value as it stands behind ``key=``."""
    text = json.dumps(value)
    if isinstance(value, str) and _BARE.fullmatch(value) and not value.endswith(")"):
        try:
            if value_of(value, type_name, schema, 0, "") == value:
                return value
        except LineError:
            pass  # it is none of that type, and stands in quotes
    if isinstance(value, bool) and "boolean" in schema.kinds(type_name):
        return "on" if value else "off"
    return text
