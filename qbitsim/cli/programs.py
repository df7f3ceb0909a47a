"""``qbitsim programs``: QEMU's programs as scripts in a folder."""

from __future__ import annotations

import argparse

from qbitsim.programs.installation import OccupiedError, install
from qbitsim.terminal.errors import FAILED, CliError


def run(arguments: argparse.Namespace) -> int:
    """Make them; prints nothing.

    :raises CliError: there is something in the way, or they cannot be written.
    """
    try:
        install(arguments.folder, arguments.profile)
    except OccupiedError as error:
        raise CliError(str(error), FAILED) from None
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", FAILED) from None
    return 0
