"""The files of a few images with some of everything."""

from __future__ import annotations

from functools import cache

from file_draws import STORIES

from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.rendered import RenderedFile
from qbitsim.images.store import ImageStore
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell


@cache
def story(number: int) -> bytes:
    """The file of an image with some of everything."""
    shell = Shell(ImageStore(), DEFAULT_PROFILE)
    for line in STORIES[number]:
        status, text = shell.run(line)
        assert status == 0, text
    image = shell.images.lookup("d")
    assert isinstance(image, Qcow2Image)
    file = RenderedFile(image)
    return file.read_at(0, file.length)
