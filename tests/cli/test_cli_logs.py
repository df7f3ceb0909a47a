"""``qbitsim report`` and ``qbitsim play`` of logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbitsim.cli.main import main
from qbitsim.history.file import loads

DATA = Path(__file__).parent.parent / "logs" / "data"
LIBVIRT, QMPBACKUP = DATA / "libvirtd.log", DATA / "qmpbackup.log"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def qbitsim(capsys):
    """Run ``qbitsim`` and return its status, its output and its complaints."""

    def run(*arguments):
        status = main([*map(str, arguments)])
        return (status, *capsys.readouterr())

    return run


def test_a_log_is_reported(qbitsim):
    status, out, err = qbitsim("report", QMPBACKUP, "-o", "night.html")
    assert (status, out) == (0, "night.html: 17 commands, 9 events\n")
    assert "11 replies are what QEMU 7.2 answers" in err
    assert (
        "No space left on device" in qbitsim("report", QMPBACKUP, "-o", "night.svg")[1] + Path("night.svg").read_text()
    )


def test_one_domain_of_a_log_is_reported(qbitsim):
    assert qbitsim("report", LIBVIRT, "--domain", "web", "-o", "web.jsonl")[0] == 0
    history = loads(Path("web.jsonl").read_text())
    assert {moment.get("who") for moment in history["moments"] if moment["kind"] == "request"} == {"web"}


def test_a_log_is_played_and_agrees(qbitsim):
    status, out, err = qbitsim("play", LIBVIRT, "--history", "h.jsonl")
    assert (status, err) == (0, "")
    assert [line.partition(" ")[0] for line in out.splitlines()] == ["mail:", "web:"]
    assert loads(Path("h.jsonl").read_text())["title"] == "libvirtd"


def test_a_reply_that_is_another_here_is_shown(qbitsim):
    lines = LIBVIRT.read_text().split("\n")
    sent = next(place for place, line in enumerate(lines) if '"execute":"blockdev-del"' in line)
    place = next(place for place in range(sent, len(lines)) if '"return": {}' in lines[place])
    lines[place] = lines[place].replace('"return": {}', '"error": {"class": "GenericError", "desc": "no"}')
    Path("bad.log").write_text("\n".join(lines))
    status, out, _ = qbitsim("play", "bad.log", "--conversation", "mail")
    assert status == 1
    first, recorded, now, count, _ = out.splitlines()
    assert first.startswith("2026-11-28 19:58:")
    assert first.endswith(" mail: blockdev-del node-name=libvirt-2-format")
    assert recorded == '- recorded: {"error": {"class": "GenericError", "desc": "no"}}'
    assert (now, count) == ('+ now: {"return": {}}', "mail: 1 reply is not what QEMU 10.0 answers.")


def test_a_name_that_no_conversation_has_is_refused(qbitsim):
    complaint = f"qbitsim: {LIBVIRT}: there is no conversation 'db' in it: it has mail, web\n"
    assert qbitsim("play", LIBVIRT, "--domain", "db") == (2, "", complaint)
    assert qbitsim("report", LIBVIRT, "--domain", "db") == (2, "", complaint)


def test_what_is_no_log_has_no_conversations(qbitsim):
    Path("story.txt").write_text("disk drive0=1M\n")
    for command in ("play", "report"):
        complaint = "qbitsim: story.txt: it is no log, from which --conversation could choose\n"
        assert qbitsim(command, "story.txt", "--domain", "vm1") == (2, "", complaint)


@pytest.mark.parametrize(
    "option", [("--disk", "d=1M"), ("--transcript", "t"), ("--against", "unix:x"), ("--images", ".")]
)
def test_a_log_tells_what_disks_there_are(qbitsim, option):
    complaint = (
        f"qbitsim: {LIBVIRT}: it is a log, which tells what disks there are, and is played on a machine of its own\n"
    )
    assert qbitsim("play", LIBVIRT, *option) == (2, "", complaint)
    if option[0] == "--disk":
        assert qbitsim("report", LIBVIRT, *option)[0] == 2


def test_a_log_without_messages_is_refused(qbitsim):
    Path("libvirtd.log").write_text("2026-11-28 03:00:00.250+0000: 7: info : libvirt version: 11.3.0\n")
    why = 'it is a log of libvirt without messages of QEMU: set log_filters="1:qemu" in its configuration'
    for command in ("play", "report"):
        assert qbitsim(command, "libvirtd.log") == (2, "", f"qbitsim: libvirtd.log: {why}\n")
