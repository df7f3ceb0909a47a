"""``transaction``: several commands, all or nothing (qmp_transaction, blockdev.c, QEMU 10.0).

What is the same as for a plain command is the same code: the handlers run one after the other on one
:class:`~qbitsim.engine.transaction.Transaction`, and the effects of one are visible to the next.
"""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jobs.txn import JobTxn
from qbitsim.qapi.block import Abort, ActionCompletionMode, TransactionProperties
from qbitsim.qapi.registry import TransactionAction, command
from qbitsim.qapi.schema import arg
from qbitsim.qapi.structs import struct


@struct
class TransactionArguments:
    """Arguments of transaction."""

    actions: list[TransactionAction]
    properties: TransactionProperties | None = arg(since="2.5")


@command("abort", Abort, action=True, standalone=False, since="1.6")
def abort(context: Context, args: Abort) -> None:
    """Fail, so that everything before is undone."""
    del context, args
    raise QmpError("Transaction aborted using Abort action")


@command("transaction", TransactionArguments, since="1.1")
def transaction(context: Context, args: TransactionArguments) -> None:
    """Run the actions; the first one that fails undoes those before it."""
    properties = args.properties
    grouped = properties is not None and properties.completion_mode is ActionCompletionMode.GROUPED
    if grouped and context.profile.grouped_checked_first:
        for action in args.actions:
            _check_groupable(context, action)
    context.graph.drain_all()
    shared = Context(context.machine, context.transaction, JobTxn() if grouped else None, plain=False)
    for action in args.actions:
        # Up to 7.2 each action checked for itself; 'abort' never did.
        if grouped and not context.profile.grouped_checked_first and action.type != "abort":
            _check_groupable(context, action)
        context.machine.registry.action(action.type).handler(shared, action.data)


def _check_groupable(context: Context, action: TransactionAction) -> None:
    if not context.machine.registry.action(action.type).groupable:
        words = context.profile.grouped_property_text
        raise QmpError(f"Action '{action.type}' does not support {words} completion-mode = grouped")
