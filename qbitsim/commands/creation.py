"""Images that jobs make and change (block/create.c and block/amend.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.commands.context import Context
from qbitsim.commands.nodes import opener
from qbitsim.errors import QmpError
from qbitsim.qapi.creation import (
    BlockdevAmend,
    BlockdevAmendOptionsQcow2,
    BlockdevCreate,
    BlockdevCreateOptionsFile,
    BlockdevCreateOptionsQcow2,
    BlockdevCreateOptionsVmdk,
)
from qbitsim.qapi.registry import command
from qbitsim.qapi.values import to_json

AMENDED_FORMATS = frozenset({"qcow2"})
"""The formats whose images can be changed; QEMU knows ``luks`` too."""


@command("blockdev-create", BlockdevCreate, since="3.0")
def blockdev_create(context: Context, args: BlockdevCreate) -> None:
    """Start a job that makes an image."""
    from qbitsim.drivers.creation import FileCreation, Qcow2Creation  # noqa: PLC0415 - most machines make none so
    from qbitsim.drivers.vmdk_creation import VmdkCreation  # noqa: PLC0415
    from qbitsim.jobs.creation import CreateJob  # noqa: PLC0415

    options = args.options
    if isinstance(options, BlockdevCreateOptionsFile):
        job = CreateJob(context.jobs, args.job_id, FileCreation(opener(context), to_json(options)), checks_at_once=True)
    elif isinstance(options, BlockdevCreateOptionsQcow2):
        changes = context.profile.qcow2_creation_changes
        work = Qcow2Creation(opener(context), to_json(options), graph_changes=changes)
        waits = context.profile.creation_waits_first or not isinstance(options.file, str)
        job = CreateJob(context.jobs, args.job_id, work, checks_at_once=not waits)
    elif isinstance(options, BlockdevCreateOptionsVmdk):
        job = CreateJob(context.jobs, args.job_id, VmdkCreation(opener(context), to_json(options)), checks_at_once=True)
    else:
        raise QmpError("Driver does not support blockdev-create")
    job.start()


class _Amendment:
    """What is to be changed of a qcow2 image: only its encryption could be."""

    __slots__ = ("_encrypts",)

    def __init__(self, *, encrypts: bool) -> None:
        self._encrypts = encrypts

    def check(self) -> None:
        """No image here is encrypted."""
        if self._encrypts:
            raise QmpError("image is not encrypted, can't amend")

    def write(self) -> None:
        """Nothing is left to be written."""


@command("x-blockdev-amend", BlockdevAmend, since="5.1", features=["unstable"])
def x_blockdev_amend(context: Context, args: BlockdevAmend) -> None:
    """Start a job that changes an image."""
    from qbitsim.jobs.creation import AmendJob  # noqa: PLC0415 - most machines change none

    options = args.options
    node = context.graph.lookup(None, args.node_name)
    if node.driver != options.driver:
        raise QmpError("x-blockdev-amend doesn't support changing the block driver")
    if node.driver not in AMENDED_FORMATS:
        raise QmpError("Driver does not support x-blockdev-amend")
    encrypts = isinstance(options, BlockdevAmendOptionsQcow2) and options.encrypt is not None
    work = _Amendment(encrypts=encrypts)
    AmendJob(context.jobs, args.job_id, work, checks_at_once=True, writes_nothing=True).start()
