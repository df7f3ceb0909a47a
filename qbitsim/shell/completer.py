"""What may come next in a line: commands, arguments, members, values and names, all from the schema and the server.

Nothing here knows a command or its arguments by name, but for which names belong to which arguments; see
:mod:`qbitsim.shell.names`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from qbitsim.shell.line import TRANSACTION, actions_of, tree_of
from qbitsim.shell.names import Names
from qbitsim.shell.schema import UNKNOWN, Member, Schema
from qbitsim.shell.values import Leaf, Tree, below, tags_of
from qbitsim.shell.words import Word, words

_JSON_NAME = re.compile(r'"execute"\s*:\s*"([^"]*)"')
_JSON_NAME_BEGUN = re.compile(r'"execute"\s*:\s*"([^"]*)$')
_JSON_KEY_BEGUN = re.compile(r'"arguments"\s*:\s*\{(?:[^{}]*,)?\s*"([^"]*)$')


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way in which a line may go on.

    :ivar text: what replaces the line from ``start`` on; :ivar note: what it is.
    """

    text: str
    start: int
    note: str = ""


MetaCompleter = Callable[[list[Word]], Iterable[str]]
"""The ways in which the last word of a meta command may read."""


class Completer:
    """Completes the lines of one server.

    :param meta: completes lines that begin with a colon.
    """

    def __init__(self, schema: Schema, names: Names, meta: MetaCompleter) -> None:
        self.schema = schema
        self.names = names
        self._meta = meta

    def complete(self, line: str) -> list[Candidate]:
        """The ways in which the last word of ``line``, which may be empty, may go on."""
        if line.lstrip().startswith("{"):
            return self._in_json(line)
        given, type_name = self._command_at(line)
        if given[0].text.startswith(":"):
            return _begun(self._meta(given), given[-1])
        if len(given) > 1:
            return self._arguments(given, type_name)
        if TRANSACTION.match(line):
            return _begun(self.schema.actions, given[0])
        return [*_begun(self.schema.commands, given[0]), *_begun(self._meta(given), given[0])]

    def _in_json(self, line: str) -> list[Candidate]:
        """In a JSON object: the name of the command, and those of its own arguments."""
        if name := _JSON_NAME_BEGUN.search(line):
            return [Candidate(each, name.start(1)) for each in self.schema.commands if each.startswith(name[1])]
        name, key = _JSON_NAME.search(line), _JSON_KEY_BEGUN.search(line)
        if name is None or key is None:
            return []
        members = self.schema.members(self.schema.arguments(name[1])).values()
        return [
            Candidate(f'{each.name}": ', key.start(1), self._note(each))
            for each in members
            if each.name.startswith(key[1]) and f'"{each.name}"' not in line
        ]

    def _command_at(self, line: str) -> tuple[list[Word], str]:
        """The words of the command, or of the action of a transaction, in which a line ends; the type of its arguments.

        The last word is that in which the line ends; it may be empty.
        """
        opening = TRANSACTION.match(line)
        if opening is None:
            given = _with_last(line, list(words(line)))
            return given, self.schema.arguments(given[0].text)
        actions, end = actions_of(line, opening.end())
        if end is not None:
            rest = _with_last(line, list(words(line, end)))
            return [Word("transaction", 0, 0), *rest], self.schema.arguments("transaction")
        divided = line[opening.end() :].rstrip(" ")[-1:] in (";", "\n")
        given = _with_last(line, [] if divided else actions[-1])
        return given, self.schema.actions.get(given[0].text, UNKNOWN)

    def _arguments(self, given: list[Word], type_name: str) -> list[Candidate]:
        """The ways in which the last word may go on, which is an argument."""
        command, *before, last = given
        tree = tree_of(before, type_name, self.schema, strict=False)
        if last.key is None:
            return [
                Candidate(text, last.start, self._note(member)) for text, member in self._keys(last, type_name, tree)
            ]
        path = [last.key] if last.key in self.schema.members(type_name) else last.key.split(".")
        found, beside = self._type_at(path, type_name, tree)
        return self._values(last, command.text, path, found, beside)

    def _type_at(self, path: list[str], type_name: str, tree: Tree) -> tuple[str, Mapping[str, str]]:
        """The type of the member at a path, and the values of those beside it."""
        beside: dict[str, str] = {}
        for part in path:
            kinds = self.schema.kinds(type_name)
            if "array" in kinds:
                type_name = self.schema.element(kinds["array"]) if part.isdecimal() else UNKNOWN
            else:
                beside = {**beside, **tags_of(tree)}
                members = self.schema.members(kinds.get("object", ""), tags_of(tree))
                type_name = members[part].type if part in members else UNKNOWN
            tree = below(tree, part)
        return type_name, beside

    def _note(self, member: Member) -> str:
        return self.schema.word(member.type) + ("" if member.optional else ", needed")

    def _keys(self, word: Word, type_name: str, tree: Tree) -> Iterator[tuple[str, Member]]:
        """The members that may be written, those first that must be; how each begins, and what it is."""
        *path, _ = word.text.split(".")
        place = ".".join(path) + "." if path else ""
        inner, _ = self._type_at(path, type_name, tree)
        for part in path:
            tree = below(tree, part)
        kinds = self.schema.kinds(inner)
        if "array" in kinds:
            members = [Member(str(len(tree)), self.schema.element(kinds["array"]), optional=True)]
        else:
            members = list(self.schema.members(kinds.get("object", ""), tags_of(tree)).values())
        for member in sorted(members, key=lambda each: each.optional):
            branch = tree.get(member.name, {})
            text = f"{place}{member.name}"
            if isinstance(branch, Leaf) or not text.startswith(word.text):
                continue
            kinds = self.schema.kinds(member.type)
            if [*kinds] != ["object"] and not branch:
                yield f"{text}=", member
            if kinds.keys() & {"object", "array"}:
                yield f"{text}.", member

    def hint(self, line: str) -> str:
        """What may still be written where a line ends, once its command is known; in brackets what need not be."""
        given, type_name = self._command_at(line)
        if len(given) < 2:
            return ""
        command, *_, last = given
        tree = tree_of(given[1:], type_name, self.schema, strict=False)
        place = "".join(last.text.rpartition(".")[:2]) if last.key is None else ""
        keys: dict[str, Member] = {}
        for text, member in self._keys(Word(place, last.start, last.start), type_name, tree):
            keys.setdefault(text[:-1], member)
        written = (key if member.optional is False else f"[{key}]" for key, member in keys.items())
        return " ".join([command.text, *written])

    def _values(
        self, word: Word, command: str, path: list[str], type_name: str, beside: Mapping[str, str]
    ) -> list[Candidate]:
        choices = self.schema.kinds(type_name)
        known = [value for each in choices.values() for value in self.schema.values(each)]
        if "boolean" in choices:
            known += ["on", "off"]
        prefix, begun = "", word.value
        if "array" in choices:
            prefix, comma, begun = word.value.rpartition(",")
            prefix += comma
            known += self.schema.values(self.schema.element(type_name))
        if choices.keys() & {"string", "array", "value"}:
            known += self.names.of(command, path, beside)
        return [Candidate(prefix + each, word.value_start) for each in known if each.startswith(begun)]


def _with_last(line: str, given: list[Word]) -> list[Word]:
    """The words, the last of which is that in which the line ends; it may be empty."""
    if not given or (given[-1].complete and line[-1:].isspace()):
        return [*given, Word("", len(line), len(line))]
    return given


def _begun(names: Iterable[str], word: Word) -> list[Candidate]:
    return [Candidate(name, word.start) for name in names if name.startswith(word.text)]
