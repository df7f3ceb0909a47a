"""``qbitsim report``: what happened, as a page that works from a file, or as a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qbitsim.cli.sources import read_history
from qbitsim.history import file as history_file
from qbitsim.report.report import Report
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import show, write

_KINDS = (".html", ".htm", ".svg", ".jsonl")


def run(arguments: argparse.Namespace) -> int:
    """Read the transcripts, write the report, and return the exit status: 1 if two of them differ.

    :raises CliError: a file cannot be read, nothing of it can be shown, or the report cannot be written.
    """
    if len(arguments.transcripts) > 2:
        raise CliError("a report shows one transcript, or two side by side")
    if arguments.transcripts.count("-") > 1:
        raise CliError("standard input can be read only once")
    if Path(arguments.output).suffix not in _KINDS and arguments.output != "-":
        raise CliError(f"-o {arguments.output}: a report is a page (.html), a picture (.svg) or a history (.jsonl)")
    runs = [read_history(name, arguments) for name in arguments.transcripts]
    report = Report(runs, _short(arguments.transcripts))
    for name, run_ in zip(arguments.transcripts, report.runs, strict=True):
        for note in run_["notes"]:
            print(f"qbitsim: {name}: {note}", file=sys.stderr)
    _write(report, arguments.output)
    if len(report.runs) == 2 and report.difference is None:
        print("qbitsim: they are equal", file=sys.stderr)
    if report.difference is not None:
        print(f"qbitsim: they differ: {report.difference['text']}", file=sys.stderr)
        return FAILED
    return 0


def _short(names: list[str]) -> list[str]:
    """The files without their folders, if they can be told apart so."""
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(set(names)) else names


def _write(report: Report, output: str) -> None:
    kind = Path(output).suffix
    if kind == ".svg":
        text = report.svg()
    elif kind == ".jsonl":
        text = history_file.dumps(report.runs[0])
    else:
        text = report.html()
    write(output, text)
    if output != "-":
        show(f"{output}: {_counted(report, 'request', 'command')}, {_counted(report, 'event', 'event')}")


def _counted(report: Report, kind: str, word: str) -> str:
    """``3 commands``."""
    count = sum(moment["kind"] == kind for run in report.runs for moment in run["moments"])
    return f"{count} {word}{'' if count == 1 else 's'}"
