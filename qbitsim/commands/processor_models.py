"""What models of processors are made of, without a processor that is one."""

from __future__ import annotations

from typing import Any

from qbitsim.commands.context import Context
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.qapi.machine import CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct


@struct
class QueryCpuModelExpansion:
    """Arguments of query-cpu-model-expansion: a model with properties, and how much is to be told of it."""

    type: CpuModelExpansionType
    model: CpuModelInfo


@command("query-cpu-model-expansion", QueryCpuModelExpansion, returns=CpuModelExpansionInfo, since="2.8")
def query_cpu_model_expansion(context: Context, args: QueryCpuModelExpansion) -> Json:
    """The properties of a model; ``static``: those by which it can be made of the model ``base``."""
    from qbitsim.devices.processors import expanded  # noqa: PLC0415  (few machines are ever asked)

    profile, model = context.profile, args.model
    given: Any = model.props
    if given is not None and not isinstance(given, dict):
        if profile.processor_errors_have_paths:
            raise QmpError("Invalid parameter type for 'model.props', expected: object")
        given = None
    full = args.type == CpuModelExpansionType.FULL
    props = expanded(profile, model.name, given or {}, full=full)
    return {"model": {"name": model.name if full else "base", "props": props}}
