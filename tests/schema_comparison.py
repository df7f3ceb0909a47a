"""What query-qmp-schema answers, compared with what a real QEMU does."""

from __future__ import annotations

from qbitsim.qapi.block import BlockExportType
from qbitsim.qapi.blockdev import BlockdevDriver
from qbitsim.qapi.furniture import NetClientDriver
from qbitsim.qapi.info import ImageEncryptionFormat, ImageInfoSpecificKind
from qbitsim.qapi.introspect import query_qmp_schema
from qbitsim.qapi.objects import ObjectType
from qbitsim.qapi.shapes import EnumShape

PARTLY_OFFERED = (
    *(BlockdevDriver, BlockExportType, ImageEncryptionFormat, ImageInfoSpecificKind, NetClientDriver),
    ObjectType,
)


class Comparison:
    """Two schemas whose types have different names: types are the same if all that they lead to is."""

    def __init__(self, registry, theirs):
        self.ours = {entry["name"]: entry for entry in query_qmp_schema(registry)}
        self.theirs = theirs
        self.assumed = set()
        shapes = (registry.shapes.of(cls) for cls in PARTLY_OFFERED)
        self.partly = [
            {*shape.values, *shape.refused} for shape in shapes if isinstance(shape, EnumShape) and shape.refused
        ]

    def check(self, name):
        """Asserts that command or event ``name`` is the same."""
        self.same(name, name, name)

    def same(self, our_name, their_name, path):
        if (our_name, their_name) in self.assumed:
            return
        self.assumed.add((our_name, their_name))
        ours, theirs = dict(self.ours[our_name]), dict(self.theirs[their_name])
        if ours.pop("name") != theirs.pop("name"):
            assert our_name.isdigit() == their_name.isdigit(), path
            assert our_name[0] == their_name[0] or our_name.isdigit(), path
        for key in ("arg-type", "ret-type", "element-type"):
            if key in ours and key in theirs:
                self.same(ours.pop(key), theirs.pop(key), f"{path}/{key}")
        if theirs["meta-type"] == "enum":
            theirs = self.only_offered(ours, theirs)
        for key in ("members", "variants"):
            if theirs["meta-type"] != "enum" and key in ours and key in theirs:
                self.same_parts(ours.pop(key), theirs.pop(key), f"{path}/{key}")
        assert ours == theirs, path

    def only_offered(self, ours, theirs):
        """An enumeration of QEMU without the values that qbitsim says it refuses."""
        if set(theirs["values"]) not in self.partly:
            return theirs
        kept = [value for value in theirs["values"] if value in ours["values"]]
        return theirs | {"values": kept, "members": [each for each in theirs["members"] if each["name"] in kept]}

    def same_parts(self, ours, theirs, path):
        """Members or variants: the same, in the same order, apart from the names of their types."""
        refused = set().union(*self.partly) - {each.get("case") for each in ours}
        theirs = [each for each in theirs if each.get("case") not in refused]
        labels = [[{**each, "type": ""} for each in parts] for parts in (ours, theirs)]
        assert labels[0] == labels[1], path
        for our_part, their_part in zip(ours, theirs, strict=True):
            label = our_part.get("name") or our_part.get("case")
            self.same(our_part["type"], their_part["type"], f"{path}/{label}")
