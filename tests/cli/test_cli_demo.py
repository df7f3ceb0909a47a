"""The story in the terminal, and its pictures."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.cli.main import main
from qbitsim.machine.machine import Machine
from qbitsim.profiles import PROFILES
from qbitsim.terminal.picture import Row, Style, draw, human, levels, rows_of_drive, rows_of_state

PROOF = (
    "$ qemu-img compare d1-incr-2.qcow2 drive1.at-d1-incr-2 Images are identical. "
    "All 8 backups read as their disks did at their moments."
)


class Terminal(io.StringIO):
    encoding = "UTF-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("width", [40, 80])
def test_the_story_ends_with_its_proof_and_fits(profile, width, capsys):
    assert main(["demo", "--profile", profile, "--width", str(width)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert " ".join(out.split()).endswith(PROOF)
    assert max(len(line) for line in out.splitlines()) <= width
    assert out.isascii()
    assert out.count("Images are identical.") == 8
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_the_story_shows_a_bitmap_and_its_successor(capsys):
    assert main(["demo"]) == 0
    assert (
        """\
  drive0            AACAEEE.ABDD..F.C...AA.E..B...D.  64 MiB
   bitmap0          ....###................+........  7 MiB dirty, busy
    successor       ..............#.................  2 MiB dirty

  <- BLOCK_JOB_ERROR device=drive0 operation=write action=report
  <- JOB_STATUS_CHANGE drive0: aborting
  <- BLOCK_JOB_COMPLETED device=drive0 len=7340032 offset=1048576 speed=0
       type=backup error="No space left on device"
  <- JOB_STATUS_CHANGE drive0: concluded, null

  drive0            AACAEEE.ABDD..F.C...AA.E..B...D.  64 MiB
   bitmap0          ....###.......#........+........  9 MiB dirty
"""
        in capsys.readouterr().out
    )


def test_a_group_that_fails_leaves_both_bitmaps_as_they_were(capsys):
    assert main(["demo"]) == 0
    bitmaps = """\
   bitmap0          ......#.....................+...  3 MiB dirty
  drive1            ..AAAGGA.......GG.......AAAA....  64 MiB
   bitmap1          .....##........#+...............  7 MiB dirty
"""
    assert capsys.readouterr().out.count(bitmaps) == 2


def test_a_style_is_plain_unless_the_terminal_can_do_more():
    assert Style.of(Terminal(), {"TERM": "xterm"}, width=80) == Style(80, unicode=True, colour=True)
    assert Style.of(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, width=80) == Style(80, unicode=True)
    assert Style.of(Terminal(), {"TERM": "dumb"}, width=80) == Style(80)
    assert Style.of(Terminal(), {}, width=80, ascii_only=True) == Style(80, colour=True)
    assert Style.of(io.StringIO(), {"TERM": "xterm"}, width=80) == Style(80)
    assert [Style.of(Terminal(), {}, width=width).width for width in (-1, 5, 1000)] == [24, 24, 120]


def test_cells_fit_beside_their_names_or_below_them():
    rows = [Row("incremental.0.img", "A" * 32, "7 MiB over full_backup.img")]
    assert draw(rows, Style(80)) == [f"  incremental.0.img {'A' * 32}  7 MiB over full_backup.img"]
    assert draw(rows, Style(40)) == ["  incremental.0.img  7 MiB", f"  {'A' * 32}"]
    assert [Style(width).cells for width in (24, 40, 80, 120)] == [16, 32, 32, 64]


def test_a_remark_that_does_not_fit_goes_on_in_the_next_line():
    rows = [Row(" b", "." * 32, "1.25 MiB dirty, disabled, persistent")]
    assert draw(rows, Style(80)) == [
        f"   {'b':<16} {'.' * 32}  1.25 MiB dirty, disabled,",
        " " * 54 + "persistent",
    ]
    assert draw(rows, Style(40)) == ["   b  1.25 MiB dirty, disabled,", "    persistent", f"  {'.' * 32}"]
    assert draw([Row(" b", "", rows[0].note)], Style(80)) == [f"   {'b':<16}   1.25 MiB dirty, disabled, persistent"]


def test_equal_neighbours_share_their_colour():
    style = Style(80, unicode=True, colour=True)
    assert draw([Row("b", "··██", "", "yellow")], style) == [f"  {'b':<17} \033[2m··\033[0m\033[33m██\033[0m  "]


def test_a_bitmap_shows_clean_partly_dirty_and_dirty():
    machine = Machine()
    disk = machine.add_disk("d", "64M")
    machine.qmp("block-dirty-bitmap-add", node="d", name="b")
    disk.write(2 << 20, b"A" * (2 << 20))
    disk.write(63 << 20, b"A")
    assert rows_of_drive(machine, "d", Style(80)) == [
        Row("d", ".A" + "." * 29 + "A", "64 MiB"),
        Row(" b", ".#" + "." * 29 + "+", "2.06 MiB dirty", "yellow"),
    ]


def test_the_flags_that_matter_most_come_first():
    machine = Machine()
    machine.add_disk("d", "64M").write(0, b"A")
    machine.qmp("block-dirty-bitmap-add", node="d", name="plain")
    machine.qmp("block-dirty-bitmap-add", node="d", name="off", persistent=True, disabled=True)
    machine.qmp("block-dirty-bitmap-add", node="d", name="frozen", persistent=True)
    machine.drive("d").write(0, b"A")
    machine.qmp(
        "drive-backup", device="d", target="t", sync="incremental", bitmap="frozen", job_id="job0", format="qcow2"
    )
    notes = {row.name.strip(): row.note for row in rows_of_state(machine.state(), Style(80))}
    assert notes == {
        "d": "64 MiB",
        "plain": "64 KiB dirty",
        "off": "0 dirty, not recording, persistent",
        "frozen": "64 KiB dirty, busy, persistent",
        "successor": "0 dirty",
        "job0": "running, 0 of 64 KiB",
        "(no name)": "0 dirty",
    }


def test_what_of_an_inconsistent_bitmap_is_dirty_nobody_knows():
    stored = Machine()
    stored.add_disk("d", "64M")
    stored.qmp("block-dirty-bitmap-add", node="d", name="b", persistent=True)
    stored.qmp("quit")
    crashed = Machine(images=stored.images)
    crashed.add_disk("d").write(0, b"A")
    crashed.crash()
    machine = Machine(images=stored.images)
    machine.add_disk("d")
    unknown = Row(" b", "?" * 32, "inconsistent", "yellow")
    assert rows_of_state(machine.state(), Style(80)) == [Row("d", "", "64 MiB"), unknown]
    assert rows_of_drive(machine, "d", Style(80))[1] == unknown


@given(st.integers(0, 6), st.integers(0, 4), st.sets(st.integers(0, 63)))
def test_levels_agree_with_counting(log_cells, log_unit, dirty):
    cells, unit = 1 << log_cells, 1 << log_unit
    size = 64 * unit
    width = size // cells
    counts = [sum(byte // unit in dirty for byte in range(i * width, (i + 1) * width)) for i in range(cells)]
    expected = [0 if not count else 2 if count == width else 1 for count in counts]
    assert levels([(place * unit, unit) for place in sorted(dirty)], size, cells) == expected


def test_sizes_are_written_as_people_write_them():
    assert [human(size) for size in (0, 511, 1024, 65536, 3 << 19, 1000 << 20, 1023 << 30, 1 << 40)] == [
        "0",
        "511 B",
        "1 KiB",
        "64 KiB",
        "1.5 MiB",
        "1000 MiB",
        "1023 GiB",
        "1 TiB",
    ]
