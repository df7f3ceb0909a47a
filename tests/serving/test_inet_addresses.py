"""TCP addresses to listen on: NBD servers, migrations and character devices have the same code.

What is refused was measured with nbd-server-start, the same in QEMU 7.2.22, 10.0.13 and 11.1.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qbitsim import QmpError
from qbitsim.serving.sockets import bind_inet_address, bind_unix_address

NO_SUCH_FAMILY = "Address family for hostname not supported"


@pytest.fixture
def busy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(host: str, port: str, **options: object) -> str:
    with pytest.raises(QmpError) as caught:
        bind_inet_address(host, port, **options)
    return caught.value.desc


def ports_of(host: str, port: str, **options: object) -> set[int]:
    bound = bind_inet_address(host, port, **options)
    found = {each.getsockname()[1] for each in bound}
    for each in bound:
        each.close()
    return found


def test_addresses_that_nobody_has() -> None:
    unknown = "address resolution failed for 127.0.0.1:nosuch: Servname not supported for ai_socktype"
    assert refusal("127.0.0.1", "nosuch") == unknown
    assert refusal("localhost", "0", numeric=True) == (
        "address resolution failed for localhost:0: Name or service not known"
    )
    assert refusal("127.0.0.1", "0", ipv6=True) == f"address resolution failed for 127.0.0.1:0: {NO_SUCH_FAMILY}"
    assert refusal("127.0.0.1", "0", ipv4=False) == f"address resolution failed for 127.0.0.1:0: {NO_SUCH_FAMILY}"
    assert refusal("::1", "0", ipv4=True) == f"address resolution failed for ::1:0: {NO_SUCH_FAMILY}"
    assert refusal("::1", "0", ipv6=False) == f"address resolution failed for ::1:0: {NO_SUCH_FAMILY}"
    assert refusal("127.0.0.1", "0", ipv4=False, ipv6=False) == "Cannot disable IPv4 and IPv6 at same time"
    assert refusal("192.0.2.1", "0") == "Failed to bind socket: Cannot assign requested address"


@pytest.mark.parametrize("host", [".", "a..b", "a" * 64, "a\0b"])
def test_names_that_no_host_can_have(host: str) -> None:
    assert refusal(host, "0") == f"address resolution failed for {host}:0: Name or service not known"


def test_a_nul_in_a_path_is_two_bytes_there(tmp_path: Path) -> None:
    bind_unix_address(f"{tmp_path}/a\0b", abstract=False, tight=True).close()
    assert os.listdir(os.fsencode(tmp_path)) == [b"a\xc0\x80b"]


def test_ports_that_are_taken(busy: int) -> None:
    taken = "Failed to find an available port: Address already in use"
    assert refusal("127.0.0.1", str(busy)) == refusal("127.0.0.1", str(busy), to=busy) == taken
    assert refusal("127.0.0.1", str(busy), to=5) == "Failed to create a socket: Address already in use"
    assert ports_of("127.0.0.1", str(busy), to=busy + 20).pop() > busy


def test_what_is_left_open_the_host_chooses() -> None:
    for host, port in (("127.0.0.1", "0"), ("127.0.0.1", ""), ("", "0")):
        (found,) = ports_of(host, port)
        assert found > 0
    assert ports_of("127.0.0.1", str((1 << 16) + 0))  # only the lower bits count
    assert ports_of("127.0.0.1", "0", ipv4=True, ipv6=True)


def test_addresses_that_cannot_be_had_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: places)
    (found,) = bind_inet_address("both", "0")
    with found:
        assert found.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(("abstract", "length"), [(False, 109), (True, 108)])
def test_a_path_of_a_socket_is_short(*, abstract: bool, length: int) -> None:
    path = "x" * length
    with pytest.raises(QmpError, match=f"^UNIX socket path '{path}' is too long$"):
        bind_unix_address(path, abstract=abstract, tight=True)
