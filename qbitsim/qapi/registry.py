"""Commands and events: what is declared, and what one profile offers of it.

Theory of operation: a command is one function. :func:`command` puts it, its argument class
and its properties into a table when its module is imported. A :class:`Registry` is such a table
as one QEMU release sees it; dispatch, membership in the ``transaction`` union,
``query-commands``, introspection and the reference table are all derived from it. It asks for a
command when it is wanted, and for all when all are, so that a table may import their modules then.

The registry does not know what a handler's context is; it never calls a handler.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qapi.decoders import Decoders
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.nesting import check_nesting
from qbitsim.qapi.not_emulated import NOT_EMULATED
from qbitsim.qapi.order import action_order, schema_order
from qbitsim.qapi.shapes import EnumShape, Member, ObjectShape
from qbitsim.qapi.structs import struct
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from qbitsim.jsontypes import JsonObject, JsonValue
    from qbitsim.profiles import Profile
    from qbitsim.qapi.decoders import Decoder
    from qbitsim.qapi.schema import FeatureLike
    from qbitsim.qapi.shapes import Shapes

Handler: TypeAlias = "Callable[[Any, Any], Any]"
"""Called with a context and the arguments (None if the command has none).

It returns the JSON value of the reply; None stands for ``{}``.
"""

PREFIX = "x-qbitsim-"
"""What the names of all control commands begin with."""

_C = TypeVar("_C")
_A = TypeVar("_A")
_R = TypeVar("_R")


@struct
class Command:
    """A declared command.

    :param arguments: the class of its arguments; None if it takes none.
    :param returns: annotation of what it returns; None for ``{}``.
    :param action: whether it is an action of ``transaction``.
    :param standalone: whether it is a command too (``abort`` is an action only).
    :param groupable: whether it may be part of a grouped transaction.
    :param allow_oob: whether ``exec-oob`` may run it.
    """

    name: str
    handler: Handler
    arguments: type | None
    returns: object
    action: bool
    standalone: bool
    groupable: bool
    allow_oob: bool
    since: str | None
    until: str | None
    action_since: str | None
    features: tuple[FeatureLike, ...]


@struct
class Event:
    """A declared event; ``data`` is the class of its data, None if it has none."""

    name: str
    data: type | None
    since: str | None
    until: str | None
    features: tuple[FeatureLike, ...]


DECLARED_COMMANDS: dict[str, list[Command]] = {}
"""By name: those of one name are for different releases."""

CONTROL_COMMANDS: dict[str, list[Command]] = {}
"""Commands of qbitsim's own; machines that may be controlled over QMP have them."""

DECLARED_EVENTS: list[Event] = []


def command(
    name: str,
    arguments: type[_A] | None = None,
    *,
    returns: object = None,
    action: bool = False,
    standalone: bool = True,
    groupable: bool = False,
    oob: bool = False,
    since: str | None = None,
    until: str | None = None,
    action_since: str | None = None,
    features: Iterable[FeatureLike] = (),
    control: bool = False,
) -> Callable[[Callable[[_C, _A], _R]], Callable[[_C, _A], _R]]:
    """Declares the function below as the QMP command ``name``; it stays callable.

    :param arguments: a class that no other command has; None if the command takes no arguments.
    :param returns: annotation of the return value, for introspection; None for ``{}``.
    :param action: whether ``transaction`` may contain it.
    :param standalone: False for an action that is no command.
    :param groupable: whether it may be part of a grouped transaction.
    :param oob: whether it may run out of band.
    :param since: first release that has it; ``until``: first one that does not.
    :param action_since: first release that has it as an action, if later than ``since``.
    :param control: whether it is qbitsim's own, and no QEMU has it.
    """

    def declare(handler: Callable[[_C, _A], _R]) -> Callable[[_C, _A], _R]:
        (CONTROL_COMMANDS if control else DECLARED_COMMANDS).setdefault(name, []).append(
            Command(
                name=name,
                handler=handler,
                arguments=arguments,
                returns=returns,
                action=action,
                standalone=standalone,
                groupable=groupable,
                allow_oob=oob,
                since=since,
                until=until,
                action_since=action_since,
                features=tuple(features),
            )
        )
        return handler

    return declare


def declare_event(
    name: str,
    data: type | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    features: Iterable[FeatureLike] = (),
) -> None:
    """Declares an event and the class of its data."""
    DECLARED_EVENTS.append(Event(name=name, data=data, since=since, until=until, features=tuple(features)))


@record
class TransactionAction:
    """One action of ``transaction``: the name of a command and its decoded arguments."""

    type: str
    data: object


_NESTED = (dict, list)


class Registry:
    """The commands and events of one profile.

    :param profile: decides what is offered.
    :param commands: declared commands by name; those that are declared by now if not given.
    :param events: declared events, likewise.
    :param program: the names of all commands and events of a program that has others than the system emulator, in the
        order of its query-qmp-schema.
    """

    def __init__(
        self,
        profile: Profile,
        commands: Mapping[str, Sequence[Command]] | None = None,
        events: Iterable[Event] | None = None,
        *,
        program: Sequence[str] | None = None,
    ) -> None:
        self.profile = profile
        self._program = program
        self._decoders = Decoders(profile)
        self._bound: dict[str, Decoder] = {}
        self._declared = DECLARED_COMMANDS if commands is None else commands
        self._offered = Lazy(self._declared, self._of_this_release)
        self._controlled = any(name.startswith(PREFIX) for name in self._declared)
        self.events = {
            each.name: each
            for each in (DECLARED_EVENTS if events is None else events)
            if profile.offers(each.since, each.until) and self._has(each.name)
        }
        self._decoders.shapes.define(TransactionAction, self._transaction_action)

    def __deepcopy__(self, memo: dict[int, object]) -> Registry:
        """Itself: one serves all machines."""
        return self

    @property
    def shapes(self) -> Shapes:
        """The declarations as this profile sees them."""
        return self._decoders.shapes

    def _has(self, name: str) -> bool:
        """Whether the program may have a command or event of that name."""
        return self._program is None or name in self._program

    def _of_this_release(self, name: str) -> Command | None:
        """The command or action of that name that the profile has."""
        found = [each for each in self._declared[name] if self.profile.offers(each.since, each.until)]
        assert len(found) < 2, f"{name} is declared twice"
        return found[0] if found else None

    def _command(self, name: str) -> Command | None:
        """The command of that name."""
        found = self._offered.get(name)
        return found if found is not None and found.standalone and self._has(name) else None

    @cached_property
    def _commands(self) -> dict[str, Command]:
        """All commands in the order of query-qmp-schema."""
        found = {name: each for name in self._declared if (each := self._command(name)) is not None}
        return {name: found[name] for name in self.ordered(found)}

    @cached_property
    def _actions(self) -> dict[str, Command]:
        """All actions in QEMU's order."""
        every = (each for each in self._offered.values() if each is not None and each.action)
        found = {each.name: each for each in every if self.profile.offers(each.action_since)}
        return {name: found[name] for name in action_order(found)}

    @cached_property
    def _by_arguments(self) -> dict[type, Command]:
        """All by argument class, without the classes that several share."""
        classes = [(each.arguments, each) for each in self._offered.values() if each is not None]
        counts = Counter(cls for cls, _ in classes)
        return {cls: each for cls, each in classes if cls is not None and counts[cls] == 1}

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Names of commands and events in the order of query-qmp-schema."""
        if self._program is None:
            return schema_order(names, self.profile)
        return sorted(names, key=self._program.index)

    def find(self, name: str) -> Command | None:
        """The command called ``name``, exactly as written; None if QEMU has none.

        :raises UnsupportedError: QEMU has it and qbitsim does not.
        :raises QmpError: it is one of qbitsim's own, and those are not allowed.
        """
        found = self._command(name)
        if found is None and name.startswith(PREFIX) and not self._controlled:
            raise QmpError(f"The command {name} is qbitsim's own: it needs --control, or Machine(control=True)")
        if found is None and self._has(name) and name in NOT_EMULATED and self.profile.offers(*NOT_EMULATED[name]):
            raise UnsupportedError(f"the command '{name}'")
        return found

    def action(self, name: str) -> Command:
        """The action called ``name``, which decoding has checked."""
        return self._actions[name]

    def commands(self) -> list[Command]:
        """All commands in the order of ``query-qmp-schema``."""
        return list(self._commands.values())

    def names(self) -> list[str]:
        """The names of all commands in the order of ``query-commands``."""
        own = [name for name in self._commands if name.startswith(PREFIX)]
        return [*(name for name in reversed(self._commands) if not name.startswith(PREFIX)), *own]

    def decode(self, name: str, arguments: JsonObject) -> object:
        """The arguments of command ``name`` as an instance of its class.

        A command that takes none gets an instance of a class without members.

        :raises QmpError: no such command, or the arguments do not fit; UnsupportedError: they are nested too deeply.
        """
        bound = self._bound.get(name)
        if bound is None:
            found = self.find(name)
            if found is None:
                raise QmpError(f"The command {name} has not been found", "CommandNotFound")
            bound = self._bound[name] = self._decoders.of_class(found.arguments or _NoArguments)
        for value in arguments.values():
            if type(value) in _NESTED:
                check_nesting(value)
        return bound(arguments, "")

    def decode_as(self, cls: type, value: JsonValue) -> Any:
        """A value as an instance of a class that declares a type of QAPI.

        :raises QmpError: it does not fit.
        """
        return self._decoders.of_class(cls)(value, "")

    def command_of(self, instance: object) -> Command:
        """The command or action whose arguments ``instance`` is."""
        return next(self._by_arguments[cls] for cls in type(instance).__mro__ if cls in self._by_arguments)

    def _transaction_action(self) -> ObjectShape:
        """The union of all actions, each with its command's arguments as ``data``."""
        status = {name: self._status_features(each) for name, each in self._actions.items()}
        kinds = EnumShape({name: name for name in self._actions}, features=status)
        tag = Member("type", "type", kinds, optional=False)
        return ObjectShape(_build_action, (tag,), tag=tag, variants=Lazy(self._actions, self._action_shape))

    def _action_shape(self, name: str) -> ObjectShape:
        data = self._decoders.shapes.of(self._actions[name].arguments or _NoArguments)
        return ObjectShape(_build_action, (Member("data", "data", data, optional=False),))

    def _status_features(self, command: Command) -> tuple[str, ...]:
        """What an action shows of its command's features."""
        return tuple(each for each in self.shapes.features(command.features) if each in {"deprecated", "unstable"})


def _build_action(attributes: dict[str, Any]) -> TransactionAction:
    return TransactionAction(**attributes)


@record
class _NoArguments:
    """The arguments of a command that takes none."""
