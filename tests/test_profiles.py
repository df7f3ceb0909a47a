"""The releases and what they offer."""

from __future__ import annotations

import pytest

from qbitsim.profiles import DEFAULT_PROFILE, PROFILES, QEMU_2_5, QEMU_7_2, QEMU_10_0, profile


def test_profiles_are_found_by_name():
    assert {name: profile(name) for name in PROFILES} == {"2.5": QEMU_2_5, "7.2": QEMU_7_2, "10.0": QEMU_10_0}
    assert DEFAULT_PROFILE is QEMU_10_0


def test_an_unknown_profile_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"^no profile '9.1': choose one of 2.5, 7.2, 10.0$"):
        profile("9.1")


@pytest.mark.parametrize(
    ("since", "until", "offered"),
    [
        (None, None, ["2.5", "7.2", "10.0"]),
        ("2.5", None, ["2.5", "7.2", "10.0"]),
        ("7.2", None, ["7.2", "10.0"]),
        ("9.1", None, ["10.0"]),
        ("10.0", None, ["10.0"]),
        ("10.1", None, []),
        (None, "10.0", ["2.5", "7.2"]),
        (None, "2.5", []),
        ("4.0", "9.0", ["7.2"]),
    ],
)
def test_releases_are_compared_as_numbers(since, until, offered):
    assert [each.name for each in PROFILES.values() if each.offers(since, until)] == offered


def test_a_profile_is_equal_to_itself_only():
    assert len({*PROFILES.values()}) == 3
    assert QEMU_7_2 != QEMU_10_0
