"""Records: classes of named values."""

from __future__ import annotations

import copy

import pytest

from qbitsim.records import changed, record


@record
class Point:
    x: int
    y: int = 0


@record
class Named(Point):
    name: str = "?"


@record(frozen=False)
class Counter:
    count: int


@record(eq=False, kw_only=True)
class Identity:
    name: str


def test_members_are_given_by_position_or_by_name() -> None:
    assert Point(1, 2) == Point(y=2, x=1) == Point(1, y=2)


def test_what_is_omitted_has_its_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 0)
    assert Point(1) == Point(1, 0)


def test_a_subclass_has_the_members_of_its_base_first() -> None:
    assert Named(1, 2, "a") == Named(x=1, y=2, name="a")
    assert Named(1) != Point(1)


@pytest.mark.parametrize("values", [(), (1, 2, 3)])
def test_too_few_and_too_many_values_are_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(TypeError):
        Point(*values)


def test_a_member_that_is_unknown_or_given_twice_is_refused() -> None:
    with pytest.raises(TypeError):
        Point(1, z=2)  # type: ignore[call-arg]  # what is tested
    with pytest.raises(TypeError):
        Point(1, x=2)  # type: ignore[misc]  # what is tested


def test_members_that_go_by_name_only_are_not_taken_by_position() -> None:
    with pytest.raises(TypeError):
        Identity("a")  # type: ignore[misc]  # what is tested


def test_a_frozen_record_cannot_change_and_serves_as_a_key() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point.x cannot change"):
        point.x = 2  # type: ignore[misc]  # what is tested
    with pytest.raises(AttributeError):
        del point.x
    assert {point: "found"}[Point(1, 0)] == "found"


def test_a_record_that_is_not_frozen_changes_and_is_no_key() -> None:
    counter = Counter(1)
    counter.count += 1
    assert counter == Counter(2)
    with pytest.raises(TypeError):
        hash(counter)


def test_without_eq_a_record_is_only_equal_to_itself() -> None:
    one, other = Identity(name="a"), Identity(name="a")
    assert one != other
    assert len({one, other, one}) == 2


def test_changed_gives_another_record() -> None:
    point = Point(1, 2)
    assert (changed(point, y=3), point) == (Point(1, 3), Point(1, 2))


def test_repr_shows_what_was_given() -> None:
    assert (repr(Point(1)), repr(Named(1, name="a"))) == ("Point(x=1)", "Named(x=1, name='a')")


def test_a_repr_of_its_own_is_kept() -> None:
    @record
    class Short:
        x: int

        def __repr__(self) -> str:
            return f"<{self.x}>"

    assert repr(Short(1)) == "<1>"


def test_a_deep_copy_is_equal() -> None:
    assert copy.deepcopy(Named(1, 2, "a")) == Named(1, 2, "a")
