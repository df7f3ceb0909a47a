"""Shows the recorded scenarios, and makes new ones.

python tests/record_scenarios.py show NAME [RELEASE]      a scenario, or what a release answered
python tests/record_scenarios.py unpack FOLDER [NAME...]  scenarios/NAME.json and golden-RELEASE/NAME.json in a folder
python tests/record_scenarios.py pack FOLDER              take over what is in such a folder
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from recordings import pack, recorded, recording, unpack


def show(name: str, release: str | None = None) -> None:
    """Print the steps of a scenario, or what a release answered, one a line."""
    whole = recording(name)
    lines = whole["steps"] if release is None else recorded(release, name)[0]
    sys.stdout.write(f"{name}: {whole['description']}\n")
    sys.stdout.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)


def main(what: str = "help", *given: str) -> None:
    if what == "show":
        show(*given)
    elif what == "unpack":
        unpack(Path(given[0]), list(given[1:]))
    elif what == "pack":
        pack(Path(given[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
