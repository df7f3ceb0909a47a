"""What ``query-block`` and ``query-named-block-nodes`` say of a qcow2 image beyond other formats."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile


def specific_info(image: Qcow2Image, profile: Profile) -> Json:
    """ImageInfoSpecificQCow2 (qcow2_get_specific_info, block/qcow2.c, QEMU 10.0)."""
    data: Json = {"compat": image.compat, "refcount-bits": image.refcount_bits}
    if profile.qcow2_shows_compression_type:
        data["compression-type"] = image.compression
    if image.data_file is not None:
        data |= {"data-file": image.data_file.name} if image.data_file.name is not None else {}
        data["data-file-raw"] = image.data_file.is_raw
    if image.compat != "0.10":
        data |= {"lazy-refcounts": image.lazy_refcounts, "corrupt": image.corrupt}
        if profile.qcow2_shows_extended_l2:
            data["extended-l2"] = False
    if image.bitmaps and profile.qcow2_shows_bitmaps:
        data["bitmaps"] = [
            {
                "name": bitmap.name,
                "granularity": bitmap.granularity,
                "flags": [flag for flag, on in (("in-use", bitmap.in_use), ("auto", bitmap.auto)) if on],
            }
            for bitmap in image.bitmaps
        ]
    return {"type": "qcow2", "data": data}
