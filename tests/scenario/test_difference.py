"""Differences between what was recorded and what came are shown where they are."""

from __future__ import annotations

import pytest

from qbitsim.scenario.difference import SHORT, difference_lines, first_place


def test_short_values_are_shown_whole():
    assert difference_lines({"return": 1}, {"return": 2}) == '- recorded: {"return": 1}\n+ now: {"return": 2}'


def test_where_nothing_came_it_is_said():
    assert difference_lines({"event": "STOP"}, None) == '- recorded: {"event": "STOP"}\n+ now: nothing more'
    assert difference_lines(None, {"event": "STOP"}) == '- recorded: nothing more\n+ now: {"event": "STOP"}'


def test_of_long_values_the_first_part_that_differs_is_shown_with_its_place():
    was = {"reply": {"return": [{"name": "a" * SHORT}, {"name": "b", "count": 65536}]}}
    now = {"reply": {"return": [{"name": "a" * SHORT}, {"name": "b", "count": 0}]}}
    assert difference_lines(was, now) == "in reply.return[1].count:\n- recorded: 65536\n+ now: 0"


def test_long_values_that_have_nothing_in_common_are_shown_whole():
    assert difference_lines("a" * SHORT, 1) == f'- recorded: "{"a" * SHORT}"\n+ now: 1'


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, "a"),
        ({"a": 1}, {"b": 1}, ""),
        ({"a": [1, 2]}, {"a": [1]}, "a[1]"),
        ({"a": [{}, 2]}, {"a": [{"c": None}, 2]}, "a[0]"),
        ({"a": None}, {"a": {}}, "a"),
        ([1], [2], "[0]"),
        (1, 2, ""),
    ],
)
def test_a_place_is_a_path(one, other, place):
    assert first_place(one, other)[0] == place


def test_objects_that_do_not_have_the_same_members_are_shown_whole():
    was, now = {"a": "x" * SHORT, "b": {"c": 1}}, {"a": "x" * SHORT, "b": {"c": 1, "d": 2}}
    assert difference_lines(was, now) == 'in b:\n- recorded: {"c": 1}\n+ now: {"c": 1, "d": 2}'


def test_a_list_that_is_longer_shows_what_the_other_lacks():
    was, now = ["x" * SHORT, 2], ["x" * SHORT]
    assert difference_lines(was, now) == "in [1]:\n- recorded: 2\n+ now: nothing more"
