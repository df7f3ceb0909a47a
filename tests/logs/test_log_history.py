"""What a log becomes: a history with jobs, bitmaps, refusals and what was expected instead."""

from __future__ import annotations

from pathlib import Path

from qbitsim.history.file import dumps, loads
from qbitsim.jsontypes import Json
from qbitsim.logs.reading import read_log
from qbitsim.logs.telling import history_of_log

DATA = Path(__file__).parent / "data"


def told(name: str, *chosen: str, old: str = "", new: str = "") -> Json:
    log = read_log((DATA / name).read_text().replace(old or "\0", new))
    assert log is not None
    return history_of_log(log, log.chosen(chosen), "a night")


def lanes(history: Json) -> list[tuple[str, str]]:
    return [(lane["kind"], lane["name"]) for lane in history["lanes"]]


def test_one_domain_has_its_own_names() -> None:
    history = told("libvirtd.log", "mail")
    assert (history["title"], history["profile"], history["bits"]) == ("a night", "10.0", False)
    assert lanes(history) == [
        ("job", "create-libvirt-2-format"),
        ("job", "backup-vda-libvirt-1-format"),
        ("bitmap", "mon"),
        ("job", "create-libvirt-3-format"),
        ("bitmap", "tue"),
        ("job", "create-libvirt-4-format"),
        ("bitmap", "wed"),
        ("bitmap", "backup-vda"),
    ]
    assert history["notes"][0] == "The log has 2 conversations. Shown: mail. Not shown: web."
    assert {moment.get("machine") for moment in history["moments"]} == {None}


def test_several_domains_stand_before_the_names() -> None:
    history = told("libvirtd.log")
    names = {lane["name"] for lane in history["lanes"] if lane["kind"] == "job"}
    assert {"mail backup-vda-libvirt-1-format", "web backup-vda-libvirt-1-format"} <= names
    places = {(lane["node"], lane["name"]) for lane in history["lanes"] if lane["kind"] == "bitmap"}
    assert {("mail libvirt-1-format", "mon"), ("web libvirt-1-format", "mon")} <= places
    times = [moment["at"] for moment in history["moments"]]
    assert times == sorted(times)
    assert times[-1] > 10**10


def test_the_failure_of_a_night_can_be_seen() -> None:
    history = told("libvirtd.log", "mail")
    failed = [moment["text"] for moment in history["moments"] if moment.get("failed")]
    assert failed == [
        "BLOCK_JOB_ERROR",
        "BLOCK_JOB_COMPLETED",
        "libvirt: Domain checkpoint not found: Checkpoint 'nope' for incremental backup of disk 'vda' not found",
        "libvirt: invalid argument: store '/srv/out/mail.incr' for backup of 'vda' exists",
    ]
    number = str(lanes(history).index(("job", "backup-vda-libvirt-1-format")))
    errors = [moment["changes"][number] for moment in history["moments"] if number in moment.get("changes", {})]
    assert "No space left on device" in {change.get("error") for change in errors if change is not None}


def test_many_questions_about_objects_are_one_moment() -> None:
    texts = [moment["text"] for moment in told("libvirtd.log", "mail")["moments"]]
    asked = "qom-get path=/machine/unattached/device[0] property=realized"
    assert [text for text in texts if "qom-" in text] == [f"3 questions about objects of the machine: {asked}, ..."]


def test_an_unexpected_reply_has_what_was_expected() -> None:
    lines = (DATA / "libvirtd.log").read_text().split("\n")
    sent = next(place for place, line in enumerate(lines) if '"execute":"blockdev-del"' in line)
    line = next(line for line in lines[sent:] if '"return": {}' in line)
    refused = line.replace('"return": {}', '"error": {"class": "GenericError", "desc": "no"}')
    history = told("libvirtd.log", "mail", old=line, new=refused)
    (marked,) = (moment for moment in history["moments"] if "expected" in moment)
    assert (marked["kind"], marked["text"], marked["expected"]) == ("error", "no", {"return": {}})
    assert history["moments"][marked["of"]]["text"].startswith("blockdev-del ")
    assert "1 reply is not what QEMU 10.0 answers." in history["notes"]


def test_messages_that_are_cut_off_are_shown_as_far_as_they_go() -> None:
    history = told("qemu_qmp.log", "day", old='"name": "b0"\n  },', new='"name": "b0')
    assert [moment["text"] for moment in history["moments"] if "cut off" in moment["text"]]
    assert "2 messages are cut off in the log; only their beginning is shown." in history["notes"]
    assert history["epoch"] is None


def test_it_survives_being_written_down() -> None:
    for name in ("libvirtd.log", "qmpbackup.log", "qemu_qmp.log"):
        history = told(name)
        assert loads(dumps(history)) == history
