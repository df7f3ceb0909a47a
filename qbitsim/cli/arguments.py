"""The command line of ``qbitsim``: its subcommands, options and help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import qbitsim
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES
from qbitsim.terminal.errors import CliError
from qbitsim.terminal.options import FAIL_HELP, FAULTS_HELP, SETTINGS
from qbitsim.terminal.streams import show

_MAIN = """\
An emulator of QEMU's dirty bitmaps, backup jobs and transactions.
Images live in memory, and nothing is read from or written to a disk, unless --images names a folder.
"""

_MAIN_EXAMPLES = """\
examples:
  qbitsim demo                                      what it is about, in a terminal
  qbitsim tour                                      understand dirty bitmaps in half an hour
  qbitsim serve --qmp unix:/tmp/qmp --disk drive0=64M
  qbitsim shell --disk drive0=64M                   type QMP commands, and see what they do
  qbitsim play commands.txt --disk drive0=64M
  qbitsim reference                                 every command, argument and event, and what is refused
  qbitsim reference guide                           how to use it, one subject after the other

'qbitsim COMMAND --help' tells more.
"""

_SERVE_EXAMPLES = """\
One line per address says when it is ready. It ends on the QMP command quit, SIGTERM or SIGINT.
Jobs advance by themselves; a job with a speed limit follows the clock on the wall, unless --pacing says otherwise.

examples:
  qbitsim serve --qmp unix:/tmp/qmp --disk drive0=64M,format=qcow2 --disk drive1=1P
  qbitsim serve --qmp tcp:127.0.0.1:4444 --profile 7.2 --disk drive0=64M --fail drive0:read:1M+64k:EIO:once
  qbitsim serve --qmp unix:/tmp/qmp --images vm --disk drive0=64M    on real files: vm/drive0.qcow2
  qbitsim serve --qmp stdio --disk drive0=64M --image full.img=64M --image incr.img=64M,backing=full.img \\
                --capacity incr.img=128k

Any NBD client reads and writes the drives:
  qbitsim serve --nbd unix:/tmp/nbd --disk drive0=64M
  nbdcopy 'nbd+unix:///drive0?socket=/tmp/nbd' drive0.raw

See it happen in a browser; with --history nothing is forgotten, however long it runs:
  qbitsim serve --web 127.0.0.1:8080 --control --pacing manual --disk drive0=64M
  qbitsim serve --qmp unix:/tmp/qmp --web 127.0.0.1:0 --disk drive0=64M --history run.jsonl

Guest writes come over QMP, as with QEMU:
  {"execute": "human-monitor-command", "arguments": {"command-line": "qemu-io drive0 \\"write -P 0x41 0 64k\\""}}
"""

_RECORD_EXAMPLES = """\
It passes on what a client and a server say to each other, byte by byte, and writes it down as a scenario, each time a
client has gone and when it ends on SIGTERM or SIGINT. The server may be real QEMU.

examples:
  qbitsim record --listen unix:/tmp/client --connect unix:/tmp/qmp -o backup.json
  qbitsim play --against unix:/tmp/qmp backup.json    does it answer as it did? the exit status is 1 if not
"""

_PLAY_EXAMPLES = """\
FILE is a scenario (a JSON object with "steps", or a list of steps), a debug log of libvirt, qmpbackup or qemu.qmp, in
which each reply is compared with that of a machine of its own, or a file of commands, one per line:

  # a comment
  disk drive0=64M,format=qcow2
  {"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "bitmap0"}}
  block-dirty-bitmap-add node=drive0 name=bitmap1     the same; also: 'info block', as 'qbitsim shell' takes it
  write drive0 0 64k 0x41              also: zero, discard, qemu-io drive0 "read -P 0x41 0 64k"
  qemu-img create -f qcow2 incr.img 64M      also: ls, rm, mv, cp, mkdir
  capacity incr.img=128k               also: image, drive, blockdev, fail; as the options
  advance 1.5                          let 1.5 seconds pass; 'run': let time pass until all is done
  hold                                 from here jobs go on only in 'step [N]', 'run' and 'advance'

It may be a list of commands, too, and hold what a terminal has shown: prompts, arrows and replies are left out.
Every reply and event is printed as QEMU writes it. The exit status is 1 if the scenario, or a command on
image files, fails, or a reply of the log is another here, and 2 if FILE is malformed.
"""

_REPORT_EXAMPLES = """\
TRANSCRIPT is a history ('qbitsim play --history', 'qbitsim serve --history'), a scenario, a recorded conversation
('qbitsim record'), a debug log of libvirt, qmpbackup or qemu.qmp, or a file of commands ('qbitsim play'), which is
played on a machine that is watched. Two of them are shown side by side, with their first difference marked; the exit
status is 1 then, if there is one.

examples:
  qbitsim report backup.txt -o report.html      a page that needs nothing but itself; open it in a browser
  qbitsim report backup.txt -o picture.svg      its timeline as a picture
  qbitsim report good.jsonl bad.jsonl -o report.html
  qbitsim report libvirtd.log --domain mail     what happened last night, and which replies QEMU would not have given
"""

_DEMO_EXAMPLES = """\
A full backup, two incremental ones, a failure and its retry, two drives that fail alone and then together:
the story of QEMU's own document on dirty bitmaps, with a picture of the bitmaps after each step, and at the
end a proof that every backup reads as the disk did at its moment.
"""

_TOUR_EXAMPLES = """\
Chapters on a live machine: what a bitmap is, backups and what they leave when they fail, transactions, crashes. You
predict what happens, or change the command before it runs. Leave with q or Ctrl-D; the next 'qbitsim tour' goes on
there. How far you are is kept in FILE: --state, else QBITSIM_TOUR_STATE, else qbitsim/tour.json in XDG_STATE_HOME.

examples:
  qbitsim tour                   go on where you were, or begin; needs the extra: pip install 'qbitsim[shell]'
  qbitsim tour granularity       one chapter, by name or number
  qbitsim tour --auto            all of it without a keyboard; nothing is kept
"""

_SHELL_EXAMPLES = """\
A line is a QMP command with key=value, a JSON object, or a command of the shell such as :show, :step and :undo; ':help'
lists them, Tab completes. Jobs go on only in :step, :run and :advance, unless --pacing is immediate.

Lines may come from a file or a pipe, too. Each reply and event is then one line of JSON. The first command that is
refused ends it with exit status 1, a line that cannot be understood with 2; a line that begins with '-' may fail.

examples:
  qbitsim shell --disk drive0=64M                    a machine of its own
  qbitsim shell --connect unix:/tmp/qmp              any QMP server, such as 'qbitsim serve --control', or QEMU
  qbitsim shell --disk drive0=64M -c query-block | jq '.return[].device'
"""

_REFERENCE_EXAMPLES = """\
Commands, events and block drivers with their members; [in brackets] what may be left out, (in parentheses) the first
release that has it, and behind it how many recorded scenarios use it, if they are given.

examples:
  qbitsim reference                every command, argument, event and driver
  qbitsim reference guide          how to use qbitsim, one subject after the other
  qbitsim reference differences    what is answered and can differ from QEMU

In a checkout this brings the reference up to date:
 qbitsim reference --update qbitsim/docs/reference.md --conformance tests/conformance --draws tests/oracle/coverage.json
"""

_PROGRAMS_EXAMPLES = """\
qemu-img, qemu-io, qemu-nbd, qemu-storage-daemon and qemu-system-x86_64, as scripts that start this installation of
qbitsim on real files. They are found by those who ask for them: put the folder first in a PATH, or name a program in it
as the emulator. Programs there that qbitsim has not made stay as they are, and are an error.

examples:
  qbitsim programs /tmp/qemu --profile 7.2
  PATH=/tmp/qemu:$PATH qemu-img create -f qcow2 disk.qcow2 1G
"""

_HUNT_EXAMPLES = """\
MODULE:CLASS is a subclass of qbitsim.testing.stateful.BackupClientMachine: your backup client, as the guide shows it.
Hypothesis plays against it from many seeds side by side, and goes on behind what it has found. Each kind of failure is
told once, as short as it can be: as a story, as a test to paste, and as a page of all that happened. The exit status is
1 if there is one.

What failed is kept in the example database of the class's settings, with which a run of its TestCase begins.

examples:
  qbitsim hunt test_client:MyClientMachine --minutes 5 --workers 2
  qbitsim hunt test_client:MyClientMachine --seed 1000 -o found
"""

_IMAGE_OPTIONS = "format=qcow2 or raw, cluster-size=, backing=FILE"
_DISK_OPTIONS = f"{_IMAGE_OPTIONS}, node-name=, file=, discard=on, read-only=on"


class _Parser(argparse.ArgumentParser):
    """A parser whose texts stay as they are written, and whose complaints are one line."""

    def __init__(self, prog: str, **options: Any) -> None:
        options |= {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(prog, **options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is.

        :raises CliError: always.
        """
        raise CliError(f"{message} (try '{self.prog} --help')")


class _Version(argparse.Action):
    """Print the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        show(f"qbitsim {qbitsim.__version__}")
        parser.exit()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; ``command`` is the name of the subcommand.

    :raises CliError: the command line is wrong.
    :raises SystemExit: help was asked for, and given.
    """
    parser = _Parser("qbitsim", description=_MAIN, epilog=_MAIN_EXAMPLES)
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version of qbitsim it is, and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary, examples, fill in (
        ("serve", "Serve QMP monitors to other processes.", _SERVE_EXAMPLES, _serve),
        ("play", "Play a file of QMP commands and guest writes.", _PLAY_EXAMPLES, _play),
        ("demo", "Show incremental backups at work.", _DEMO_EXAMPLES, _demo),
        ("tour", "Understand dirty bitmaps in half an hour.", _TOUR_EXAMPLES, _tour),
        ("shell", "Type QMP commands, on a machine of its own or on any QMP server.", _SHELL_EXAMPLES, _shell),
        ("record", "Record a client's conversation with a QMP server.", _RECORD_EXAMPLES, _record),
        ("report", "Show what happened as a picture of time.", _REPORT_EXAMPLES, _report),
        ("hunt", "Let Hypothesis hunt for what is wrong with a backup client.", _HUNT_EXAMPLES, _hunt),
        ("programs", "Put QEMU's programs into a folder, for clients that start them.", _PROGRAMS_EXAMPLES, _programs),
        ("reference", "List what is emulated, or show a document.", _REFERENCE_EXAMPLES, _reference),
    ):
        fill(commands.add_parser(name, help=summary, description=summary, epilog=examples))
    arguments = parser.parse_args([*_joined(sys.argv[1:] if argv is None else argv)])
    if getattr(arguments, "profile", DEFAULT_PROFILE.name) not in PROFILES:
        raise CliError(f"unknown profile '{arguments.profile}': choose one of {', '.join(PROFILES)}")
    return arguments


def _joined(words: Sequence[str]) -> Iterator[str]:
    """The words, but ``-c`` and a line that begins with a hyphen as one: argparse would take it for an option."""
    rest = iter(words)
    for word in rest:
        line = next(rest, None) if word == "-c" else None
        if line is None:
            yield word
        elif line.startswith("-"):
            yield word + line
        else:
            yield from (word, line)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--qmp",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="unix:PATH, tcp:HOST:PORT (port 0: any that is free) or stdio; may be given several times: each is a "
        "monitor, with one client at a time",
    )
    parser.add_argument(
        "--web",
        metavar="HOST:PORT",
        help="a page that shows what happens as it happens (port 0: any that is free); with --control it has controls",
    )
    parser.add_argument(
        "--nbd",
        metavar="ADDRESS",
        help="unix:PATH or tcp:HOST:PORT: offer each drive over NBD under its id, from the start; otherwise the NBD "
        "server listens where nbd-server-start says",
    )
    parser.add_argument(
        "--pacing",
        metavar="PACING",
        default="realtime",
        help="realtime (the default), realtime:10 (ten times as fast), immediate (what a command starts is finished "
        "before the next one is answered) or manual (nothing happens but what commands do)",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="allow the commands x-qbitsim-..., by which a client causes failures, moves time and more",
    )
    parser.add_argument("-S", dest="stopped", action="store_true", help="do not let the guest run before 'cont'")
    _history(parser)
    _profile(parser)
    _images(parser)
    _settings(parser)


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="ADDRESS", required=True, help="for the client: unix:PATH or tcp:HOST:PORT")
    parser.add_argument("--connect", metavar="ADDRESS", required=True, help="where the server is, likewise")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="the scenario; - is stdout (the default)")


def _play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what to play; - is standard input")
    parser.add_argument("--echo", action="store_true", help="show each command before what it causes, behind '->'")
    parser.add_argument(
        "--against", metavar="ADDRESS", help="replay a recorded scenario on the server at unix:PATH or tcp:HOST:PORT"
    )
    parser.add_argument("--strict", action="store_true", help="with --against, compare record by record, not by step")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=10.0, help="with --against (default: 10)")
    parser.add_argument("--transcript", metavar="OUT", help="write the records of a scenario to this file; - is stdout")
    _conversations(parser)
    _history(parser)
    _profile(parser)
    _images(parser)
    _settings(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("transcripts", metavar="TRANSCRIPT", nargs="+", help="one or two; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="report.html",
        help="the page; a picture if it ends in .svg, a history if in .jsonl; - is stdout (default: %(default)s)",
    )
    _conversations(parser)
    _profile(parser)
    _settings(parser)


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", metavar="ADDRESS", help="the server: unix:PATH or tcp:HOST:PORT")
    parser.add_argument(
        "-c", dest="commands", metavar="LINE", action="append", default=[], help="run this line; several times: in turn"
    )
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=60.0, help="for a reply (default: 60)")
    parser.add_argument("--pacing", metavar="PACING", help="manual (the default) or immediate: see 'qbitsim serve'")
    _profile(parser)
    _images(parser)
    _settings(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    _images(parser)
    _drawing(parser)
    _profile(parser)


def _tour(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("chapter", metavar="CHAPTER", nargs="?", help="its number or name; see --list")
    parser.add_argument("--list", action="store_true", help="list the chapters, and which of them you have seen")
    parser.add_argument("--auto", action="store_true", help="play without a keyboard")
    parser.add_argument("--state", metavar="FILE", type=Path, help="keep how far you are in this file")
    _drawing(parser)
    _profile(parser)


def _hunt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machine", metavar="MODULE:CLASS", help="the module is looked for here first")
    parser.add_argument("--minutes", type=_minutes, default=5.0, help="how long (default: 5)")
    parser.add_argument("--workers", type=_count, default=2, help="processes side by side (default: 2)")
    parser.add_argument("--failures", metavar="N", type=_count, help="end when so many kinds were found")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the first round; the next has the next one"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="found", help="for stories, tests and pages (default: found)"
    )


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _programs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="is made if there is none")
    _profile(parser)


def _reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "document",
        metavar="DOCUMENT",
        nargs="?",
        help="show this one as it is written: changes, design, differences, guide, reference, speed",
    )
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.add_argument("--update", metavar="FILE", type=Path, help="put the tables between the marked lines of FILE")
    parser.add_argument("--conformance", metavar="DIR", type=Path, help="count the recorded scenarios in it")
    parser.add_argument("--draws", metavar="FILE", type=Path, help="what the differential tests have counted")
    parser.set_defaults(profile=DEFAULT_PROFILE.name)


def _drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ascii", action="store_true", help="draw with plain characters")
    parser.add_argument("--width", metavar="COLUMNS", type=int, help="instead of the terminal's")


def _profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        metavar="VERSION",
        default=DEFAULT_PROFILE.name,
        help=f"the QEMU release to be: {', '.join(PROFILES)} (default: %(default)s)",
    )


def _history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--history", metavar="FILE", help="write down every moment, for 'qbitsim report'")


def _images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="image files are real ones: their names are relative to this folder, which must exist, or absolute",
    )


def _conversations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--conversation",
        "--domain",
        metavar="NAME",
        dest="conversations",
        action="append",
        default=[],
        help="of a log: only this conversation, or those with this domain; may be given several times",
    )


def _settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the machine", "each may be given several times; a comma in a value is doubled")
    for name, metavar, text in (
        ("disk", "DISK", f"a drive on a new image: ID=SIZE and, behind commas, {_DISK_OPTIONS}"),
        ("image", "IMAGE", f"an image file, such as a backup's target: NAME=SIZE and, behind commas, {_IMAGE_OPTIONS}"),
        ("drive", "K=V,...", "as QEMU's -drive, for image files that exist"),
        ("blockdev", "JSON", "as QEMU's -blockdev"),
        ("capacity", "FILE=BYTES", "room for so much data in an image file; more fails with ENOSPC"),
        (
            "fail",
            "FAULT",
            f"let requests fail: {FAIL_HELP}; OFFSET+LENGTH may be '*'; WHERE: a drive, node or file; or {FAULTS_HELP}",
        ),
    ):
        group.add_argument(f"--{name}", metavar=metavar, action="append", default=[], help=text)


def has_settings(arguments: argparse.Namespace) -> bool:
    """Whether there are options about the machine."""
    return any(getattr(arguments, name) for name in SETTINGS)


def refuse_settings(arguments: argparse.Namespace, why: str) -> None:
    """Refuse options about the machine.

    :raises CliError: there are some.
    """
    if has_settings(arguments):
        raise CliError(f"disks and failures are for files of commands; {why}")


def apply_settings(machine: Machine, arguments: argparse.Namespace) -> None:
    """Give the machine its image files, nodes, drives and failures.

    :raises CliError: one of them is wrong.
    """
    for name, apply in SETTINGS.items():
        for text in getattr(arguments, name):
            try:
                apply(machine, text)
            except CliError as error:
                raise CliError(f"--{name} {error.text}") from None
