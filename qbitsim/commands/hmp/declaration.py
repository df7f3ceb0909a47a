"""How a command of the human monitor is declared.

Theory of operation: a command is one function under :func:`hmp`. The declaration says which arguments it takes, in the
notation of QEMU's own tables, so that :mod:`.line` reads them as QEMU does, and what ``help`` prints of it. Which
commands a release has is said by its record (:attr:`.Profile.hmp_commands`).

A command does its work through the QMP commands, as in QEMU (block/monitor/block-hmp-cmds.c, 10.0): :func:`execute`
runs one as a transaction of its own, so that a refusal that becomes text has undone what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qbitsim.commands.context import Context
from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError
from qbitsim.profiles import Profile
from qbitsim.records import record

Handler = Callable[..., str | None]
"""Called with the context and the arguments by name (``-`` as ``_``; a missing one is None); returns what is printed.

A QmpError that it raises becomes text too.
"""


@record(kw_only=True)
class HmpCommand:
    """A declared command.

    :param name: without aliases; a subcommand of ``info`` with ``info`` before it.
    :param shown: the name in texts about arguments: with aliases (``quit|q``), without ``info``.
    :param arguments: ``key:type`` parts with commas between them, as QEMU's tables have them (args_type):
        ``B`` a device, ``F`` a file name, ``s`` a string, ``o`` a size in MiB, ``S`` the rest of the line, ``-x`` a
        flag; a ``?`` behind it if it may be missing.
    :param params: the arguments as ``help`` shows them.
    :param help: what ``help`` says.
    :param fact: of a profile that has the command so; None if all have it so.
    :param before: the command as the others have it.
    :param reports: refusals are printed by error_report(), see :attr:`.Profile.hmp_reports_have_prefix`; otherwise by
        hmp_handle_error().
    """

    name: str
    shown: str
    arguments: str
    params: str
    help: str
    reports: bool
    handler: Handler
    fact: str | None = None
    before: HmpCommand | None = None

    def of(self, profile: Profile) -> HmpCommand:
        """The command as a release has it."""
        if self.fact is None or self.before is None or getattr(profile, self.fact):
            return self
        return self.before

    @property
    def help_line(self) -> str:
        """What ``help`` prints of it."""
        prefix = "info " if self.name.startswith("info ") else ""
        return f"{prefix}{self.shown} {self.params} -- {self.help}\n"


def error_text(context: Context, error: QmpError, *, reports: bool) -> str:
    """How the human monitor prints a refusal; ``reports`` as in :class:`HmpCommand`."""
    bare = reports and not context.profile.hmp_reports_have_prefix
    return f"{'' if bare else 'Error: '}{error.desc}\n{error.hint}"


DECLARED: dict[str, HmpCommand] = {}
"""What is declared by now, by name."""

ALIASES = {"?": "help", "s": "stop", "c": "cont", "q": "quit"}
"""Alias -> name."""

_ALIASES_BY_NAME = {name: alias for alias, name in ALIASES.items()}


def hmp(
    name: str,
    arguments: str = "",
    *,
    params: str = "",
    help: str,  # noqa: A002
    reports: bool = False,
    fact: str | None = None,
) -> Callable[[Handler], Handler]:
    """Declares the function below as the command ``name`` of the human monitor; see :class:`HmpCommand`.

    With a ``fact`` it takes the place of the command of that name that is declared above it.
    """

    def declare(handler: Handler) -> Handler:
        shown = name.removeprefix("info ") + (f"|{_ALIASES_BY_NAME[name]}" if name in _ALIASES_BY_NAME else "")
        DECLARED[name] = HmpCommand(
            name=name,
            shown=shown,
            arguments=arguments,
            params=params,
            help=help,
            reports=reports,
            handler=handler,
            fact=fact,
            before=DECLARED[name] if fact is not None else None,
        )
        return handler

    return declare


def execute(context: Context, command: Callable[[Context, Any], Any], arguments: Any = None) -> Any:
    """Run a QMP command as the monitor does: a transaction of its own.

    :param command: the command's function; ``arguments`` its decoded arguments.
    :raises QmpError: it was refused; nothing has changed.
    """
    with Transaction(reverse=context.profile.transaction_commit_reversed) as transaction:
        return command(Context(context.machine, transaction), arguments)
