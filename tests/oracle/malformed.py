"""Draws requests that are wrong in some way: against the schema, or no JSON at all.

Valid arguments are made from the schema that real QEMU gives for its commands; then something is left out,
added, or replaced by a value of another type, on any level.
"""

from __future__ import annotations

import json
import random
from typing import Any

Json = Any

DEPTH = 3
"""Levels below which optional members are left out."""

NOT_DRAWN = frozenset(
    {
        *("quit", "stop", "cont", "human-monitor-command", "nbd-server-start"),
        *("query-qmp-schema", "query-commands", "query-command-line-options", "query-chardev"),
        "query-yank",
        *("qom-list", "qom-list-types", "qom-list-properties", "device-list-properties", "device_add"),
    }
)
"""Commands that end or change the machine as a whole, whose valid reply is long and covered elsewhere, that tell
only of what is emulated, that 7.2 reads as texts whatever they are, or that ask the host's resolver."""

DEADLY = frozenset({"block-dirty-bitmap-enable"})
"""Actions that kill real QEMU when they do not find their bitmap."""

INTEGERS = (0, 1, -1, 512, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1)
STRINGS = ("", "x", "drive0", "node0", "b0", "nonode", "ü", "a b", "😀", "\u0000", "0", "null")
ANYTHING: tuple[Json, ...] = (None, True, False, 1.5, 65536.0, -0.0, 1e300, "", "x", [], {}, [1], {"x": 1}, *INTEGERS)


class Schema:
    """Makes arguments that fit, from the reply of query-qmp-schema.

    :param entries: the reply.
    :ivar commands: the names that can be drawn.
    """

    def __init__(self, entries: list[Json], offered: set[str]) -> None:
        self.types = {entry["name"]: entry for entry in entries}
        self.commands = sorted(
            entry["name"]
            for entry in entries
            if entry["meta-type"] == "command" and entry["name"] in offered and entry["name"] not in NOT_DRAWN
        )

    def arguments(self, rng: random.Random, command: str) -> dict[str, Json]:
        """Arguments of that command."""
        made = self.value(rng, self.types[command]["arg-type"], 0)
        assert isinstance(made, dict)
        return made

    def value(self, rng: random.Random, name: str, depth: int) -> Json:
        """A value of that type."""
        entry = self.types[name]
        kind = entry["meta-type"]
        if kind == "object":
            return self._object(rng, entry, depth)
        if kind == "array":
            return [self.value(rng, entry["element-type"], depth + 1) for _ in range(rng.randint(1, 2))]
        if kind == "enum":
            return rng.choice([each for each in entry["values"] if each not in DEADLY])
        if kind == "alternate":
            return self.value(rng, rng.choice(entry["members"])["type"], depth)
        return self._plain(rng, entry["json-type"])

    @staticmethod
    def _plain(rng: random.Random, kind: str) -> Json:
        if kind == "string":
            return rng.choice(STRINGS)
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "int":
            return rng.choice(INTEGERS)
        if kind == "number":
            return rng.choice((1.5, 0, -1))
        return None if kind == "null" else rng.choice(ANYTHING)

    def _object(self, rng: random.Random, entry: Json, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {}
        members = list(entry["members"])
        for member in members:
            wanted = "default" not in member or (depth < DEPTH and rng.random() < 0.3)
            if wanted:
                made[member["name"]] = self.value(rng, member["type"], depth + 1)
        for variant in entry.get("variants", []):
            if variant["case"] == made.get(entry["tag"]):
                made |= self._object(rng, self.types[variant["type"]], depth)
        return made


def spoil(rng: random.Random, value: Json) -> Json:
    """The same with one fault somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.6:
        name = rng.choice(sorted(value))
        return {**value, name: spoil(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], spoil(rng, value[place]), *value[place + 1 :]]
    if isinstance(value, dict):
        return _spoil_members(rng, value)
    return rng.choice(ANYTHING)


def _spoil_members(rng: random.Random, value: dict[str, Json]) -> Json:
    how = rng.random()
    if value and how < 0.35:
        missing = rng.choice(sorted(value))
        return {name: item for name, item in value.items() if name != missing}
    if how < 0.9:
        extra = rng.sample(("foo", "bar", "baz", "x", "", "node", "name", "ü", "type", "id", "data"), rng.randint(1, 4))
        items = [*value.items(), *((name, rng.choice(ANYTHING)) for name in extra if name not in value)]
        rng.shuffle(items)
        return dict(items)
    return rng.choice(ANYTHING)


def request(rng: random.Random, schema: Schema) -> bytes:
    """A message with a fault or two."""
    name = rng.choice(schema.commands)
    message: dict[str, Json] = {"execute": name, "arguments": schema.arguments(rng, name)}
    for _ in range(rng.choice((1, 1, 1, 2))):
        message["arguments"] = spoil(rng, message["arguments"])
    if rng.random() < 0.3:
        message["id"] = rng.choice(ANYTHING)
    if rng.random() < 0.1:
        message = spoil(rng, message)
    return json.dumps(message, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


WELL_FORMED = b'{"execute": "query-status", "id": "\xc3\xbc\xf0\x9f\x98\x80"}'
PIECES = (
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"'",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\udc00",
    b"\\u0000",
    b"tru",
    b"true",
    b"null",
    b"nul",
    b"-",
    b"0",
    b"01",
    b"1e5",
    b"0e0",
    b"1.",
    b"1.5",
    b"+1",
    b".5",
    b"1e400",
    b"NaN",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xc0\x80",
    b"\xc3",
    b"\xc3\xbc",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xf4\x90\x80\x80",
    b"\xfe",
    b"\xff",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"#",
    b"/* */",
    b"%s",
    b"%",
    b'"a"',
    b"'a'",
    b'"execute"',
    b'"id"',
    b"[[[[[[[[",
)


def garbage(rng: random.Random, schema: Schema) -> bytes:
    """Bytes that look like JSON here and there."""
    how = rng.random()
    if how < 0.05:
        depth = rng.choice((1, 100, 1022, 1023, 1024, 1025, 1030))
        return b"".join(rng.choice((b"[", b'{"a":')) for _ in range(depth)) + b"1" * rng.randint(0, 1)
    if how < 0.35:
        return b"".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))
    data = bytearray(request(rng, schema) if rng.random() < 0.5 else WELL_FORMED)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        if rng.random() < 0.5:
            data[place:place] = rng.choice(PIECES)
        else:
            del data[place : place + rng.choice((1, 1, 2, 5))]
    return bytes(data)
