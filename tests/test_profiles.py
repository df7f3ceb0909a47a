"""The releases and what they offer."""

from __future__ import annotations

import pytest

from qbitsim.profiles import DEFAULT_PROFILE, PROFILES, QEMU_2_5, QEMU_7_2, QEMU_10_0, profile


def test_profiles_are_found_by_name():
    assert [profile(name) for name in ("2.5", "7.2", "10.0")] == [QEMU_2_5, QEMU_7_2, QEMU_10_0]
    assert [profile(name) for name in PROFILES] == [*PROFILES.values()]
    assert DEFAULT_PROFILE is QEMU_10_0


def test_a_profile_stands_for_itself():
    assert profile(QEMU_7_2) is QEMU_7_2


def test_profiles_are_listed_oldest_first():
    versions = [each.version for each in PROFILES.values()]
    assert versions == sorted(versions)


def test_an_unknown_profile_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=f"^no profile '9.1': choose one of {', '.join(PROFILES)}$"):
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
    assert [each.name for each in (QEMU_2_5, QEMU_7_2, QEMU_10_0) if each.offers(since, until)] == offered


def test_a_profile_is_equal_to_itself_only():
    assert len({*PROFILES.values()}) == len(PROFILES)
    assert QEMU_7_2 != QEMU_10_0
