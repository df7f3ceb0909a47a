"""What queries and ``qemu-img info`` say of a VMDK image beyond other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.images.vmdk.image import VmdkImage
    from qbitsim.jsontypes import Json


def specific_info(image: VmdkImage, filename: str) -> Json:
    """ImageInfoSpecificVmdk, in the order of QEMU's hash table (vmdk_get_specific_info, block/vmdk.c, 10.0).

    The one extent is in the file of the descriptor, where its type has no name.
    """
    own, parent = image.content_ids
    extent: Json = {"compressed": True} if image.extent.is_compressed else {}
    extent |= {
        "virtual-size": image.size,
        "filename": filename,
        "cluster-size": image.cluster_size,
        "format": "",
    }
    return {"cid": own, "parent-cid": parent, "create-type": image.create_type, "extents": [extent]}
