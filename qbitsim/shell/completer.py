"""What may come next in a line: commands, arguments, members, values and names, all from the schema and the server.

Nothing here knows a command or its arguments by name, but for which names belong to which arguments; see
:mod:`qbitsim.shell.names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from qbitsim.shell.line import TRANSACTION, actions_of, tree_of
from qbitsim.shell.names import Names
from qbitsim.shell.schema import UNKNOWN, Schema
from qbitsim.shell.values import Leaf, Tree, tags_of
from qbitsim.shell.words import Word, words


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
            return []
        opening = TRANSACTION.match(line)
        if opening is not None:
            return self._in_transaction(line, opening.end())
        given = _with_last(line, list(words(line)))
        if given[0].text.startswith(":"):
            return [Candidate(text, given[-1].start) for text in self._meta(given) if text.startswith(given[-1].text)]
        if len(given) == 1:
            return [*_begun(self.schema.commands, given[0]), *_begun(self._meta(given), given[0])]
        return self._arguments(given, self.schema.arguments(given[0].text))

    def _in_transaction(self, line: str, start: int) -> list[Candidate]:
        actions, end = actions_of(line, start)
        if end is not None:
            given = _with_last(line, list(words(line, end)))
            return self._arguments([Word("transaction", 0, 0), *given], self.schema.arguments("transaction"))
        last = line[start:].rstrip(" ")[-1:]
        given = _with_last(line, actions[-1] if last not in (";", "\n") else [])
        if len(given) == 1:
            return _begun(self.schema.actions, given[0])
        return self._arguments(given, self.schema.actions.get(given[0].text, UNKNOWN))

    def _arguments(self, given: list[Word], type_name: str) -> list[Candidate]:
        """The ways in which the last word may go on, which is an argument."""
        command, *before, last = given
        tree = tree_of(before, type_name, self.schema, strict=False)
        if last.key is None:
            return list(self._keys(last, type_name, tree))
        path = [last.key] if last.key in self.schema.members(type_name) else last.key.split(".")
        found, beside = self._type_at(path, type_name, tree)
        return self._values(last, command.text, path, found, beside)

    def _type_at(self, path: list[str], type_name: str, tree: Tree) -> tuple[str, Mapping[str, str]]:
        """The type of the member at a path, and the values of those beside it."""
        beside: dict[str, str] = {}
        for part in path:
            array = next((e for e in self.schema.choices(type_name) if self.schema.kind(e) == "array"), None)
            if array is not None:
                type_name = self.schema.element(array) if part.isdecimal() else UNKNOWN
            else:
                beside = {**beside, **tags_of(tree)}
                members = self.schema.members(self.schema.object_of(type_name) or "", tags_of(tree))
                type_name = members[part].type if part in members else UNKNOWN
            branch = tree.get(part, {})
            tree = {} if isinstance(branch, Leaf) else branch
        return type_name, beside

    def _keys(self, word: Word, type_name: str, tree: Tree) -> Iterator[Candidate]:
        """The members that may be written, those first that must be."""
        *path, _ = word.text.split(".")
        place = ".".join(path) + "." if path else ""
        inner, _ = self._type_at(path, type_name, tree)
        for part in path:
            branch = tree.get(part, {})
            tree = {} if isinstance(branch, Leaf) else branch
        array = next((e for e in self.schema.choices(inner) if self.schema.kind(e) == "array"), None)
        if array is not None:
            keys = [(str(len(tree)), self.schema.element(array), True)]
        else:
            members = self.schema.members(self.schema.object_of(inner) or "", tags_of(tree))
            keys = [(each.name, each.type, each.optional) for each in members.values()]
        for name, member, optional in sorted(keys, key=lambda key: key[2]):
            branch = tree.get(name, {})
            text = f"{place}{name}"
            if isinstance(branch, Leaf) or not text.startswith(word.text):
                continue
            note = self.schema.word(member) if optional else f"{self.schema.word(member)}, needed"
            kinds = {self.schema.kind(each) for each in self.schema.choices(member)}
            if not kinds <= {"object", "array"} or "array" in kinds:
                yield Candidate(f"{text}=", word.start, note)
            if kinds & {"object", "array"}:
                yield Candidate(f"{text}.", word.start, note)

    def _values(
        self, word: Word, command: str, path: list[str], type_name: str, beside: Mapping[str, str]
    ) -> list[Candidate]:
        choices = [self.schema.kind(each) for each in self.schema.choices(type_name)]
        known = [value for each in self.schema.choices(type_name) for value in self.schema.values(each)]
        if "boolean" in choices:
            known += ["on", "off"]
        prefix, begun = "", word.value
        if "array" in choices:
            prefix, comma, begun = word.value.rpartition(",")
            prefix += comma
            known += self.schema.values(self.schema.element(type_name))
        if {"string", "array", "value"} & set(choices):
            known += self.names.of(command, path, beside)
        return [Candidate(prefix + each, word.value_start) for each in known if each.startswith(begun)]


def _with_last(line: str, given: list[Word]) -> list[Word]:
    """The words, the last of which is that in which the line ends; it may be empty."""
    if not given or (given[-1].complete and line[-1:].isspace()):
        return [*given, Word("", len(line), len(line))]
    return given


def _begun(names: Iterable[str], word: Word) -> list[Candidate]:
    return [Candidate(name, word.start) for name in names if name.startswith(word.text)]


def command_of(line: str) -> str:
    """The command, or the action of a transaction, whose arguments are being typed; nothing if it is not yet known."""
    opening = TRANSACTION.match(line)
    if opening is None:
        given = list(words(line))
        return given[0].text if given and len(_with_last(line, given)) > 1 else ""
    actions, end = actions_of(line, opening.end())
    if end is not None or not actions[-1]:
        return ""
    return actions[-1][0].text if len(_with_last(line, actions[-1])) > 1 else ""
