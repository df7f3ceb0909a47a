"""``machine.report()``: what a notebook shows, and what is saved."""

from __future__ import annotations

import html
import re

import pytest

from qbitsim import Machine
from qbitsim.report.report import Report


def machine_with_a_bitmap() -> Machine:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    return machine


def test_a_watched_machine_reports_its_history() -> None:
    machine = machine_with_a_bitmap()
    history = machine.watch("a title")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0")
    assert machine.report().runs == [history.to_json()]
    assert [run["title"] for run in machine.report("another").runs] == ["another"]
    assert history.title == "a title"
    assert repr(machine.report()) == "<Report of 'a title' (3)>"


def test_a_machine_that_is_not_watched_reports_what_is_known() -> None:
    machine = machine_with_a_bitmap()
    before = machine.state()
    (run,) = machine.report("now").runs
    assert [lane["kind"] for lane in run["lanes"]] == ["disk"]
    assert len(run["notes"]) == 1
    assert machine.state() == before


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    report = machine_with_a_bitmap().report('"><script>alert(1)</script>')
    shown = report._repr_html_()
    (source,) = re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', shown).groups()
    assert html.unescape(source) == report.html()


@pytest.mark.parametrize(("name", "begin"), [("page.html", "<!doctype html>"), ("picture.svg", "<svg ")])
def test_the_name_of_the_file_says_what_is_saved(tmp_path, name, begin) -> None:
    report = machine_with_a_bitmap().report()
    report.save(tmp_path / name)
    assert (tmp_path / name).read_text() == (report.svg() if name.endswith(".svg") else report.html())
    assert (tmp_path / name).read_text().startswith(begin)


def test_two_runs_have_their_titles_as_names_and_their_first_difference() -> None:
    runs = [machine_with_a_bitmap().report(title).runs[0] for title in ("one", "two")]
    report = Report(runs)
    assert (report.names, report.difference) == (["one", "two"], None)


def test_a_pull_backup_is_seen_in_time() -> None:
    machine = machine_with_a_bitmap()
    disk = machine.drive("drive0")
    disk.write(131072, b"before")
    machine.images.create("scratch", "qcow2", 1 << 20)
    machine.watch()
    file = {"driver": "file", "filename": "scratch"}
    machine.qmp("blockdev-add", driver="qcow2", node_name="moment", file=file, backing=disk.node.name)
    machine.qmp("blockdev-backup", device="drive0", target="moment", sync="none", job_id="job0")
    machine.export_nbd("moment")
    with machine.connect_nbd("moment") as client:
        disk.write(131072, b"behind")
        assert client.read(131072, 6) == b"before"
    (run,) = machine.report("A pull backup").runs
    told = [moment["text"] for moment in run["moments"] if moment["kind"] in ("write", "nbd")]
    assert told == ["the guest writes 6 bytes at 131072 of drive0", "NBD read moment 131072+6"]
