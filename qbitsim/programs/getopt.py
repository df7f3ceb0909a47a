"""The options of a command line as ``getopt_long`` of the GNU C library takes them apart, with its complaints."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


NO_OPTION = ""
"""The name of a word that is no option."""


class GetoptError(Exception):
    """What the library says of an option, without the name of the program."""


def scan(
    arguments: Iterable[str], letters: str, words: list[str], long: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """The options with their values, one after the other; what is none is added to *words*, wherever it stands.

    :param letters: the short options, each with a colon behind it if it takes a value; with a hyphen in front of all
        of them, what is no option is given back in its turn as the value of :data:`NO_OPTION`.
    :param long: the long options, likewise, each with the name under which it is given back.
    :raises GetoptError: when its turn comes.
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            words.extend(rest)
        elif argument.startswith("--") and long is not None:
            yield _long(argument, rest, long)
        elif argument.startswith("-") and argument != "-":
            yield from _cluster(argument[1:], rest, letters)
        elif letters.startswith("-"):
            yield NO_OPTION, argument
        else:
            words.append(argument)


def _cluster(given: str, rest: Iterator[str], letters: str) -> Iterator[tuple[str, str]]:
    while given:
        letter, given = given[0], given[1:]
        if letter in ":-" or letter not in letters:
            raise GetoptError(f"invalid option -- '{letter}'")
        if f"{letter}:" not in letters:
            yield letter, ""
            continue
        value = given or next(rest, None)
        if value is None:
            raise GetoptError(f"option requires an argument -- '{letter}'")
        yield letter, value
        return


def _long(argument: str, rest: Iterator[str], long: Mapping[str, str]) -> tuple[str, str]:
    name, equals, value = argument[2:].partition("=")
    plain = {each.rstrip(":"): each for each in long}
    fitting = [name] if name in plain else [each for each in plain if each.startswith(name)]
    if len(fitting) > 1:
        found = " ".join(f"'--{each}'" for each in fitting)
        raise GetoptError(f"option '{argument}' is ambiguous; possibilities: {found}")
    if not fitting:
        raise GetoptError(f"unrecognized option '{argument}'")
    key = plain[fitting[0]]
    if not key.endswith(":"):
        if equals:
            raise GetoptError(f"option '--{fitting[0]}' doesn't allow an argument")
        return long[key], ""
    if equals:
        return long[key], value
    following = next(rest, None)
    if following is None:
        raise GetoptError(f"option '--{fitting[0]}' requires an argument")
    return long[key], following
