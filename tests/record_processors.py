"""Makes qbitsim/devices/recorded/RELEASE-processors.json: what models of processors are like in a PC of a real QEMU.

    python tests/record_processors.py 10.0 qemu-system-x86_64

The second argument, and what follows it, is the command that runs a QEMU of that release, with TCG. What a model is
like depends on nothing else. The model ``host`` is left out, which is the host's own, and names that stand for another
model.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from record_devices import FOLDER, answers, asked

PROCESSOR = "/machine/unattached/device[0]"
PLACES = ("apic-id", "core-id", "die-id", "module-id", "node-id", "socket-id", "thread-id")
"""What depends on where a processor sits."""


def models(qemu: tuple[str, ...]) -> list[str]:
    """The models that have values of their own."""
    (told,) = answers(qemu, [asked("query-cpu-definitions")])
    return [each["name"] for each in told["return"] if "alias-of" not in each and each["name"] != "host"]


def properties(qemu: tuple[str, ...], model: str) -> dict[str, str]:
    """Name -> type of the properties of a processor, in QEMU's order."""
    (told,) = answers(qemu, [asked("qom-list", path=PROCESSOR)], machine="pc", more=("-cpu", model))
    return {each["name"]: each["type"] for each in told["return"]}


def values(qemu: tuple[str, ...], model: str, types: dict[str, str]) -> dict[str, Any]:
    """The values of a processor that are plain and do not depend on its place."""
    left_out = ("child<", "link<", "X86CPUFeatureWordInfo")
    names = [name for name in types if name not in PLACES and not types[name].startswith(left_out)]
    requests = [asked("qom-get", path=PROCESSOR, property=name) for name in names]
    told = answers(qemu, requests, machine="pc", more=("-cpu", model))
    assert len(told) == len(names), model
    return {name: each["return"] for name, each in zip(names, told, strict=True) if "return" in each}


def expansions(
    qemu: tuple[str, ...], types: dict[str, str], common: dict[str, Any], told: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What query-cpu-model-expansion tells of each model, by what is otherwise than in a processor of it.

    ``max`` are the properties that only the model of that name has; ``turned`` those that are true in one and false in
    the other.
    """
    heard = {}
    for model in told:
        kinds = ("static", "full")
        requests = [asked("query-cpu-model-expansion", type=kind, model={"name": model}) for kind in kinds]
        for kind, each in zip(kinds, answers(qemu, requests), strict=True):
            heard[model, kind] = each["return"]["model"]["props"]
    static, full, most = heard["base", "static"], heard["base", "full"], heard["max", "full"]
    assert all({**heard[model, "full"], **heard[model, "static"]} == heard[model, "full"] for model in told)
    otherwise = {model: differing(heard[model, "full"], types, common, told[model]) for model in told}
    shared = {
        name: value
        for name, value in otherwise["base"].items()
        if all(name in each and each[name] == value for each in otherwise.values())
    }
    models = {
        model: {
            "turned": " ".join(name for name in each if types[name] == "bool" and name not in shared),
            **{name: value for name, value in each.items() if types[name] != "bool" and name not in shared},
        }
        for model, each in otherwise.items()
    }
    only = " ".join(name for name in most if name not in full)
    return {"static": " ".join(static), "full": " ".join(most), "max": only, "common": shared, "models": models}


def differing(
    values: dict[str, Any], types: dict[str, str], common: dict[str, Any], model: dict[str, Any]
) -> dict[str, Any]:
    """The values that are not those of a processor."""
    on = {*model["on"].split(), *(name for name, value in common.items() if value is True)}
    real = {name: name in on if kind == "bool" else {**common, **model}.get(name) for name, kind in types.items()}
    return {name: value for name, value in values.items() if real[name] != value}


def main(release: str, *qemu: str) -> None:
    types = properties(qemu, "max")
    every = {model: values(qemu, model, types) for model in models(qemu)}
    first = every["qemu64-v1"]
    common = {name: value for name, value in first.items() if all(each.get(name) == value for each in every.values())}
    told = {}
    for model, mine in every.items():
        switches = [name for name, value in mine.items() if value is True and name not in common]
        rest = {name: value for name, value in mine.items() if name not in common and not isinstance(value, bool)}
        told[model] = {"on": " ".join(switches), **rest}
    expansion = expansions(qemu, types, common, told)
    parts = {"properties": types, "common": common, "models": told, "expansion": expansion}
    texts = (
        f"{json.dumps(part)}: {{\n" + ",\n".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in content.items()) + "\n}"
        for part, content in parts.items()
    )
    (FOLDER / f"{release}-processors.json").write_text("{" + ",\n".join(texts) + "}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
