"""Whatever bytes come: QEMU's error, the same machine, and service for the others goes on.

The texts are those of real QEMU 10.0 for the same bytes.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe
from qbitsim.qmp.session import Session
from qbitsim.serving.server import Server


def conversation() -> tuple[Machine, Session]:
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    session = Session(machine)
    session.connect()
    session.feed(b'{"execute": "qmp_capabilities"}')
    return machine, session


def errors(data: bytes) -> list[str]:
    return [json.loads(line)["error"]["desc"] for line in data.splitlines()]


def request(command: str, **arguments: Any) -> bytes:
    return json.dumps({"execute": command, "arguments": arguments}).encode()


def add(**arguments: Any) -> bytes:
    return request("block-dirty-bitmap-add", **arguments)


CASES = [
    (b"{]", ["JSON parse error, expecting value"]),
    (b'{"execute": "query-jobs",}', ["JSON parse error, expecting value"]),
    (b'{"a"}', ["JSON parse error, missing : in object pair"]),
    (b"hello\n", ["JSON parse error, invalid keyword 'hello'"]),
    (b'{"a":1,"a":2}', ["JSON parse error, duplicate key"]),
    (b'{"execute": "\x80"}', ["JSON parse error, invalid UTF-8 sequence in string"]),
    (b'{"execute": "\\ud800"}', ["JSON parse error, \\ud800 is not a valid Unicode character"]),
    (b"[1]", ["QMP input must be a JSON object"]),
    (b"{}", ["QMP input lacks member 'execute'"]),
    (b'{"execute": 5}', ["QMP input member 'execute' must be a string"]),
    (b'{"execute": "query-jobs", "arguments": null}', ["QMP input member 'arguments' must be an object"]),
    (b'{"execute": "query-jobs", "foo": 1}', ["QMP input member 'foo' is unexpected"]),
    (b'{"execute": "nosuch"}', ["The command nosuch has not been found"]),
    (request("query-jobs", x=1), ["Parameter 'x' is unexpected"]),
    (add(name="n"), ["Parameter 'node' is missing"]),
    (add(node="drive0", name=5), ["Invalid parameter type for 'name', expected: string"]),
    (add(node="drive0", name=None), ["Invalid parameter type for 'name', expected: string"]),
    (add(node="drive0", name="n", granularity="64k"), ["Parameter 'granularity' expects uint64"]),
    (add(node="drive0", name="n", granularity=65536.0), ["Parameter 'granularity' expects uint64"]),
    (add(node="drive0", name="n", granularity=1 << 32), ["Parameter 'granularity' expects uint32_t"]),
    (add(node="drive0", name="n", disabled="yes"), ["Invalid parameter type for 'disabled', expected: boolean"]),
    (add(node="drive0", name="n", autoload=True), ["Parameter 'autoload' is unexpected"]),
    (add(node="drive0", name=""), ["Bitmap name cannot be empty"]),
    (
        request("transaction", actions=[{"type": "block-dirty-bitmap-clear", "data": {"node": "drive0"}}]),
        ["Parameter 'actions[0].data.name' is missing"],
    ),
    (
        request("transaction", actions=[{"type": "dance", "data": {}}]),
        ["Parameter 'type' does not accept value 'dance'"],
    ),
    (
        request("transaction", actions=[], properties={"completion-mode": "maybe"}),
        ["Parameter 'completion-mode' does not accept value 'maybe'"],
    ),
    (
        request("drive-backup", device="drive0", target="t", sync="all"),
        ["Parameter 'sync' does not accept value 'all'"],
    ),
    (
        request("drive-backup", device="drive0", target="t", sync="full", format="nosuch"),
        ["Unknown file format 'nosuch'"],
    ),
    (request("block_resize", device="drive0", size="big"), ["Invalid parameter type for 'size', expected: integer"]),
    (b"[" * 1025, ["JSON nesting depth limit exceeded"]),
    (b'{"a":' * 1024 + b"{", ["JSON nesting depth limit exceeded"]),
]


@pytest.mark.parametrize(("data", "texts"), CASES, ids=[repr(case[0][:70]) for case in CASES])
def test_bad_input_gets_qemus_error_and_changes_nothing(data: bytes, texts: list[str]) -> None:
    machine, session = conversation()
    before = describe(machine)
    assert errors(session.feed(data)) == texts
    assert describe(machine) == before


@pytest.mark.parametrize(("data", "texts"), CASES, ids=[repr(case[0][:70]) for case in CASES])
def test_bad_input_gets_the_same_error_byte_by_byte(data: bytes, texts: list[str]) -> None:
    _machine, session = conversation()
    assert errors(b"".join(session.feed(data[index : index + 1]) for index in range(len(data)))) == texts


@pytest.mark.parametrize(("data", "texts"), CASES, ids=[repr(case[0][:70]) for case in CASES])
def test_after_bad_input_the_next_command_is_answered(data: bytes, texts: list[str]) -> None:
    _machine, session = conversation()
    session.feed(data + b"\xff")  # the byte with which a client resets the parser
    assert json.loads(session.feed(b'{"execute": "query-jobs", "id": [1]}')) == {"return": [], "id": [1]}


def test_a_token_beyond_64_mib_is_refused_and_the_stream_goes_on() -> None:
    _machine, session = conversation()
    chunk = b"x" * (1 << 20)
    answer = session.feed(b'{"execute": "') + b"".join(session.feed(chunk) for _ in range(65))
    assert errors(answer)[0] == "JSON token size limit exceeded"
    session.feed(b'"}\xff')
    assert json.loads(session.feed(b'{"execute": "query-jobs"}')) == {"return": []}


def test_half_a_message_draws_no_answer() -> None:
    machine, session = conversation()
    before = describe(machine)
    assert session.feed(b'{"execute": "block-dirty-bitmap-clear", "argu') == b""
    assert describe(machine) == before


@given(st.binary(max_size=60))
def test_no_bytes_make_the_session_fail_or_change_the_machine(data: bytes) -> None:
    assume(b"execute" not in data)
    machine, session = conversation()
    before = describe(machine)
    for line in session.feed(data).splitlines():
        assert json.loads(line)["error"]["class"] in ("GenericError", "CommandNotFound")
    assert describe(machine) == before


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), 1 << 65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(st.sampled_from(sorted(Machine().registry.names())), VALUES)
def test_no_arguments_make_a_command_fail_otherwise_than_by_a_refusal(name: str, arguments: Any) -> None:
    _machine, session = conversation()
    if name != "quit":
        answer = session.feed(json.dumps({"execute": name, "arguments": arguments}).encode())
        assert {"return", "error"} & set(json.loads(answer.splitlines()[-1]))


async def bad_clients(path: Path) -> bytes:
    """Clients that send garbage, half a message, and vanish; then a good one asks."""
    server = Server(conversation()[0])
    await server.listen_unix(path)
    serving = asyncio.ensure_future(server.run())
    for data in (b"\xff\xfe\x80", b'{"execute": "quer', b"[" * 5000, b""):
        _reader, writer = await asyncio.open_unix_connection(path)
        writer.write(data)
        await writer.drain()
        writer.transport.abort()
    reader, writer = await asyncio.open_unix_connection(path)
    await reader.readline()
    writer.write(b'{"execute": "qmp_capabilities"}{"execute": "query-jobs", "id": "good"}')
    await reader.readline()
    answer = await reader.readline()
    writer.close()
    server.stop()
    await serving
    return answer


def test_clients_that_send_garbage_and_vanish_leave_the_others_served(tmp_path: Path) -> None:
    answer = asyncio.run(asyncio.wait_for(bad_clients(tmp_path / "qmp.sock"), 10))
    assert json.loads(answer) == {"return": [], "id": "good"}
