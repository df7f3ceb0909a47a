"""Qbitsim's own command that says why a granule is dirty; see :mod:`qbitsim.history.why`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from qbitsim.commands.context import Context
from qbitsim.control.units import SizeOnWire
from qbitsim.errors import QmpError
from qbitsim.history.history import History
from qbitsim.jsontypes import Json
from qbitsim.qapi.registry import PREFIX, command
from qbitsim.qapi.structs import struct


@struct
class XQbitsimWhy:
    """Arguments of x-qbitsim-why: a bitmap, any byte of the granule, and the node or drive if several have one."""

    bitmap: str
    offset: SizeOnWire
    node: str | None = None


@command(f"{PREFIX}why", XQbitsimWhy, returns=Any, control=True)
def why(context: Context, args: XQbitsimWhy) -> Json:
    """Why a granule is dirty, or clean: the members of :class:`.Why`, and in words as ``text``, if it is watched."""
    history = context.machine.scheduler.observer
    if not isinstance(history, History):
        raise QmpError("nobody watches this machine: start it with 'serve --history FILE' or '--web', or watch() it")
    try:
        found = history.why(args.bitmap, args.offset, node=args.node)
    except ValueError as error:
        raise QmpError(str(error)) from None
    return {"text": str(found), **json.loads(json.dumps(asdict(found)))}
