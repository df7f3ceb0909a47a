"""Where two histories differ first.

Moments are compared one by one: what happened, and what was different after it. It does not matter when it was, nor how
QEMU called a node that nobody named.
"""

from __future__ import annotations

from qbitsim.history.normal import normal
from qbitsim.jsontypes import Json


def first_difference(one: Json, other: Json) -> Json | None:
    """``{"moments": [i, j], "text": ...}``: the first moments that differ, or None.

    A number that is as high as there are moments says that this history has ended.
    """
    pairs = zip(one["moments"], other["moments"], strict=False)
    for place, (mine, theirs) in enumerate(pairs):
        if (what := _difference(_plain(mine, one["lanes"]), _plain(theirs, other["lanes"]))) is not None:
            return {"moments": [place, place], "text": f"Moment {place} differs in {what}."}
    lengths = len(one["moments"]), len(other["moments"])
    if lengths[0] == lengths[1]:
        return None
    longer = (one, other)[lengths[1] > lengths[0]]["moments"][min(lengths)]
    which = "second" if lengths[1] > lengths[0] else "first"
    text = f"Up to moment {min(lengths)} they are equal; then only the {which} goes on: {longer['text']}"
    return {"moments": [min(lengths), min(lengths)], "text": text}


def _plain(moment: Json, lanes: list[Json]) -> Json:
    """What matters of a moment, by names instead of numbers."""
    changes = {_name(lanes[int(number)]): change for number, change in moment.get("changes", {}).items()}
    data = moment.get("data")
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name != "timestamp"}
    plain: Json = normal({"text": moment["text"], "data": data, "changes": changes})
    return {"kind": moment["kind"], "who": moment.get("who"), "failed": moment.get("failed"), **plain}


def _name(lane: Json) -> str:
    name = lane["name"] if lane["name"] is not None else "without a name"
    return f"{lane['kind']} {name} of {lane['node']}" if "node" in lane else f"{lane['kind']} {name}"


def _difference(mine: Json, theirs: Json) -> str | None:
    """What two plain moments differ in, in words."""
    if (mine["kind"], mine["text"]) != (theirs["kind"], theirs["text"]):
        return f"what happens: {mine['text']} / {theirs['text']}"
    for name in mine["changes"] | theirs["changes"]:
        if mine["changes"].get(name, {}) != theirs["changes"].get(name, {}):
            return f"the state of {name}, after {mine['text']}"
    return None if mine == theirs else f"its details: {mine['text']}"
