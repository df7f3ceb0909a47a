"""Who may look, and who may act."""

from __future__ import annotations

import pytest

from qbitsim.web.guard import Guard, RefusedError


@pytest.mark.parametrize(
    ("listening", "asked"),
    [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("127.0.0.1", "localhost:8080"),
        ("127.0.0.1", "LOCALHOST"),
        ("127.0.0.1", "[::1]:9000"),
        ("127.0.0.1", "127.1.2.3"),
        ("::1", "[::1]:1"),
        ("lab.example", "Lab.Example:80"),
        ("192.0.2.7", "192.0.2.7:80"),
        ("0.0.0.0", "192.0.2.7:80"),
        ("::", "[2001:db8::1]:80"),
    ],
)
def test_the_server_is_known_under_its_own_address_and_those_of_this_computer(listening, asked):
    Guard(listening, control=True).check_host([asked])


@pytest.mark.parametrize(
    ("listening", "asked"),
    [
        ("127.0.0.1", ["evil.example"]),
        ("127.0.0.1", ["127.0.0.1.evil.example:8080"]),
        ("127.0.0.1", ["localhost.evil.example"]),
        ("127.0.0.1", ["192.0.2.7"]),
        ("127.0.0.1", ["evil@127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1:80:80"]),
        ("127.0.0.1", ["[::1"]),
        ("127.0.0.1", [""]),
        ("127.0.0.1", []),
        ("127.0.0.1", ["127.0.0.1", "127.0.0.1"]),
        ("0.0.0.0", ["evil.example"]),
        ("192.0.2.7", ["192.0.2.8"]),
    ],
)
def test_a_name_that_somebody_else_made_to_point_here_is_refused(listening, asked):
    with pytest.raises(RefusedError, match="open the address that qbitsim has printed") as refused:
        Guard(listening, control=True).check_host(asked)
    assert refused.value.status == 403


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8080", "https://127.0.0.1:8080"])
def test_a_page_of_the_server_itself_may_act(origin):
    Guard("127.0.0.1", control=True).check_origin(origin, "127.0.0.1:8080")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:8081", "null", "", "127.0.0.1:8080"])
def test_a_page_from_elsewhere_may_not(origin):
    with pytest.raises(RefusedError, match="only qbitsim's own page") as refused:
        Guard("127.0.0.1", control=True).check_origin(origin, "127.0.0.1:8080")
    assert refused.value.status == 403


def test_the_token_is_what_counts():
    guard = Guard("127.0.0.1", control=True)
    guard.check_token(f"Bearer {guard.token}")
    guard.check_token(f"bearer  {guard.token}")


@pytest.mark.parametrize("given", [None, "", "Basic {token}", "{token}"])
def test_whoever_has_no_token_is_told_where_it_is(given):
    guard = Guard("127.0.0.1", control=True)
    with pytest.raises(RefusedError, match="the address that qbitsim printed when it began") as refused:
        guard.check_token(given and given.format(token=guard.token))
    assert refused.value.status == 401


@pytest.mark.parametrize("given", ["Bearer", "Bearer x", "Bearer {token}x", "Bearer \udcff", "Bearer ", "Bearer é"])
def test_a_wrong_token_is_no_token(given):
    guard = Guard("127.0.0.1", control=True)
    with pytest.raises(RefusedError, match="not that of this server") as refused:
        guard.check_token(given.format(token=guard.token))
    assert refused.value.status == 401


def test_without_control_no_token_helps():
    guard = Guard("127.0.0.1", control=False)
    with pytest.raises(RefusedError, match="started without --control") as refused:
        guard.check_token(f"Bearer {guard.token}")
    assert refused.value.status == 403


def test_each_server_has_a_token_of_its_own():
    assert Guard("", control=True).token != Guard("", control=True).token
