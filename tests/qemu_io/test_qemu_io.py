"""qemu-io's command language; the expected texts are those of QEMU 7.2 and 10.0."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.profiles import QEMU_7_2, QEMU_10_0, Profile
from qbitsim.qemu_io.numbers import SizeError, format_report, format_size, parse_size
from qbitsim.qemu_io.run import Output, parse, qemu_io, run
from qbitsim.sizes import parse_integer

MIB = 1 << 20
BOTH = pytest.mark.parametrize("profile", [QEMU_7_2, QEMU_10_0], ids=lambda profile: profile.name)
TIMES = "; 00.00 sec"
BAD = "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- "


class MemoryDisk:
    """A disk of bytes that notes what it was asked, allocated in 64 KiB clusters."""

    def __init__(self, size: int = 8 * MIB) -> None:
        self.content = bytearray(size)
        self.allocated: set[int] = set()
        self.calls: list[tuple[object, ...]] = []
        self.error: int | None = None

    @property
    def size(self) -> int:
        if self.error == errno.ENOMEDIUM:
            self._fail()
        return len(self.content)

    def _fail(self) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        self._fail()

    def _allocate(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data
        self.allocated.update(range(offset >> 16, (offset + len(data) + 65535) >> 16))

    def read(self, offset: int, length: int) -> bytes:
        self._note("read", offset, length)
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes, compressed: bool = False) -> None:
        self._note("write", offset, len(data), data[:1], compressed)
        self._allocate(offset, data)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self._note("write_zeroes", offset, length, unmap)
        self._allocate(offset, bytes(length))

    def discard(self, offset: int, length: int) -> None:
        self._note("discard", offset, length)

    def flush(self) -> None:
        self._note("flush")

    def truncate(self, size: int) -> None:
        self._note("truncate", size)
        if size % 512:
            raise QmpError("The new size must be a multiple of 512")
        self.content = self.content[:size] + bytearray(max(0, size - len(self.content)))

    def status(self, offset: int, length: int) -> tuple[bool, int]:
        self._fail()
        return offset >> 16 in self.allocated, min(length, 65536 - offset % 65536)


def test_a_write_reports_bytes_operations_and_the_rate_of_one_nanosecond() -> None:
    disk = MemoryDisk()
    assert run(disk, "write -P 0x41 0 64k") == Output(
        "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.00 sec (59.605 TiB/sec and 1000000000.0000 ops/sec)\n"
    )
    assert disk.calls == [("write", 0, 65536, b"A", False)]


def test_a_clock_that_moves_is_in_the_report() -> None:
    ticks = iter((1_000_000_000, 3_964_610_000))
    assert run(MemoryDisk(), "write 0 64k", clock=lambda: next(ticks)).stdout == (
        "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 0:00:02.96 (21.588 KiB/sec and 0.3373 ops/sec)\n"
    )


def test_an_asynchronous_zero_write_reports_the_clock_itself() -> None:
    output = run(MemoryDisk(), "aio_write -z 0 512", clock=lambda: 1_116_120_000_000)
    assert output.stdout == (
        "wrote 512/512 bytes at offset 0\n512 bytes, 1 ops; 0:18:36.12 (0.458732 bytes/sec and 0.0009 ops/sec)\n"
    )


def test_statistics_for_machines_are_one_line() -> None:
    assert run(MemoryDisk(), "write -C 0 512") == Output("512,1,0:00:00.00,512000000000.000,1000000000.000\n")


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("write -q 0 512", ("write", 0, 512, b"\xcd", False)),
        ("w 0 -q 512", ("write", 0, 512, b"\xcd", False)),
        ("write -qP5 0 512", ("write", 0, 512, b"\x05", False)),
        ("write -qP 010 0 512", ("write", 0, 512, b"\x08", False)),
        ("write -q -- 0 512", ("write", 0, 512, b"\xcd", False)),
        ("write -qc 64k 64k", ("write", 65536, 65536, b"\xcd", True)),
        ("write -qz 0 1M", ("write_zeroes", 0, MIB, False)),
        ("write -zuq 0 1M", ("write_zeroes", 0, MIB, True)),
        ("writev -q 512 1k 2k", ("write", 512, 3072, b"\xcd", False)),
        ("aio_write -q -P 7 512 1k 2k", ("write", 512, 3072, b"\x07", False)),
        ("aio_write -qzu 0 64k", ("write_zeroes", 0, 65536, True)),
        ("discard -q 64k 64k", ("discard", 65536, 65536)),
        ("aio_discard -q 64k 64k", ("discard", 65536, 65536)),
        ("read -q 1 2", ("read", 1, 2)),
        ("flush", ("flush",)),
        ("truncate 4M", ("truncate", 4 * MIB)),
        ("t -m off 4M", ("truncate", 4 * MIB)),
    ],
)
def test_a_quiet_command_does_one_thing_and_prints_nothing(command: str, call: tuple[object, ...]) -> None:
    disk = MemoryDisk()
    assert run(disk, command) == Output()
    assert disk.calls == [call]


def test_force_unit_access_flushes_after_the_write() -> None:
    disk = MemoryDisk()
    assert run(disk, "write -qf 0 512") == Output()
    assert disk.calls == [("write", 0, 512, b"\xcd", False), ("flush",)]


@pytest.mark.parametrize("command", ["write 0 0", "write 8M 0", "write -z 8M 0", "discard 0 0", "read 8M 0"])
def test_an_empty_request_touches_nothing_and_is_reported(command: str) -> None:
    disk = MemoryDisk()
    output = run(disk, command)
    assert (output.stdout.count("0/0 bytes at offset"), output.failed, disk.calls) == (1, False, [])


USAGE_WRITE = (
    "write [-bcCfnqruz] [-P pattern | -s source_file] off len -- writes a number of bytes at a specified offset\n"
)
USAGE_READ = "read [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n"


@pytest.mark.parametrize(
    ("command", "stdout", "stderr"),
    [
        ("nosuch a", "", 'command "nosuch" not found\n'),
        ("open x", "", 'command "open" not found\n'),
        ("w 0", "", "bad argument count 1 to w, expected at least 2 arguments\n"),
        ("flush x", "", "bad argument count 1 to flush, expected 0 arguments\n"),
        ("alloc", "", "bad argument count 0 to alloc, expected between 1 and 2 arguments\n"),
        ("sleep", "", "bad argument count 0 to sleep, expected 1 arguments\n"),
        ("write 0 1 2", USAGE_WRITE, ""),
        ("w -qx 1 2", USAGE_WRITE, "w: invalid option -- 'x'\n"),
        ("write --P 1 0 5", USAGE_WRITE, "write: invalid option -- '-'\n"),
        ("write 1 2 -P", USAGE_WRITE, "write: option requires an argument -- 'P'\n"),
        ("write -P 999 -x 1 2", "999 is not a valid pattern byte\n", ""),
        ("write -P 09 0 512", "09 is not a valid pattern byte\n", ""),
        ("write -P -1 0 512", "-1 is not a valid pattern byte\n", ""),
        ("write 0 x", f"{BAD}x\n", ""),
        ("write -- -1 0", "Parsing error: argument too large -- -1\n", ""),
        ("write 0 8E", "Parsing error: argument too large -- 8E\n", ""),
        ("write 0 2G", "length cannot exceed 2147483136 without -n, given 2G\n", ""),
        ("write -bz -f 0 x", "-b and -z cannot be specified at the same time\n", ""),
        ("write -nu -f -c 0 x", "-f and -b or -c cannot be specified at the same time\n", ""),
        ("write -nu 0 x", "-n requires -z to be specified\n", ""),
        ("write -u -P 1 -s x 0 512", "-u requires -z to be specified\n", ""),
        ("write -zP 1 0 x", "Only one of -z, -P, and -s can be specified at the same time\n", ""),
        ("write -c 1M 100", "100 is not a sector-aligned value for 'count'\n", ""),
        ("write -c 1 1", "1 is not a sector-aligned value for 'offset'\n", ""),
        ("write -zr 0 x", f"{BAD}x\n", ""),
        ("write -zr 0 1", "cannot combine zero write with registered I/O buffer\n", ""),
        ("read 0 2G", "length cannot exceed 2147483136, given 2G\n", ""),
        ("read -l 5 0 1k", USAGE_READ, ""),
        ("read -P 0 -s 60k -l 8k 0 64k", "pattern verification range exceeds end of read data\n", ""),
        ("read -l x -P 300 0 1", f"{BAD}x\n", ""),
        ("readv 0 2G x", "Argument '2G' exceeds maximum size 2147483136\n", ""),
        ("readv 0 1G 1G x", "The total number of bytes exceed the maximum size 2147483136\n", ""),
        ("aio_write -z 0 512 512", "-z supports only a single length parameter\n", ""),
        ("aio_write -zr x x", "cannot combine zero write with registered I/O buffer\n", ""),
        ("discard 0 3G", "length cannot exceed 2147483136, given 3G\n", ""),
        ("truncate -m off x", f"{BAD}-m\n", ""),
        ("truncate -m off", f"{BAD}-m\n", ""),
        ("sleep 1k", "1k is not a valid number\n", ""),
        ("help nosuch", "command nosuch not found\n", ""),
    ],
)
def test_wrong_arguments_are_refused_in_the_words_of_10_0_and_touch_nothing(
    command: str, stdout: str, stderr: str
) -> None:
    disk = MemoryDisk()
    assert run(disk, command) == Output(stdout, stderr, failed=True)
    assert disk.calls == []


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("write 0", Output(stderr="bad argument count 1 to write, expected at least 2 arguments\n", failed=True)),
        ("write 0 1 2", Output(USAGE_WRITE.replace("qru", "qu"), failed=True)),
        ("writev -r 0 1", Output(
            "writev [-Cfq] [-P pattern] off len [len..] -- writes a number of bytes at a specified offset\n",
            "writev: invalid option -- 'r'\n", failed=True)),
        ("aio_discard 0 1", Output(stderr='command "aio_discard" not found\n', failed=True)),
        ("write -- -1 0", Output(f"{BAD}-1\n", failed=True)),
        ("alloc .5k", Output(f"{BAD}.5k\n", failed=True)),
        ("alloc 0x10k", Output(
            "0/512 bytes allocated at offset 16 KiB\n",
            hmp="warning: Using a multiplier suffix on hex numbers is deprecated: 0x10k\n")),
    ],
)  # fmt: skip
def test_7_2_has_its_own_words_for_some(command: str, output: Output) -> None:
    assert run(MemoryDisk(), command, profile=QEMU_7_2) == output


@BOTH
@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("truncate -m x y", Output(hmp="Invalid preallocation mode 'x'\n", failed=True)),
        ("reopen -r -w x", Output(hmp="Only one -r/-w option may be given\n", failed=True)),
        ("reopen -c nosuch", Output(hmp="Invalid cache option: nosuch\n", failed=True)),
        ("aio_read -i x 1", Output("injecting invalid read request\n")),
        ("aio_write -zi 0 x", Output("injecting invalid write request\n")),
        ("", Output()),
        ("aio_flush", Output()),
        ("reopen", Output()),
        ("help f", Output("f -- flush all in-core file state to disk\n")),
        ("help map", Output("map  -- prints the allocated areas of a file\n")),
    ],
)
def test_what_needs_no_disk_says_the_same_in_both_releases(command: str, output: Output, profile: Profile) -> None:
    disk = MemoryDisk()
    assert run(disk, command, profile=profile) == output
    assert disk.calls == []


@pytest.mark.parametrize(("profile", "count"), [(QEMU_7_2, 23), (QEMU_10_0, 30)], ids=["7.2", "10.0"])
def test_help_lists_the_commands_of_the_release(profile: Profile, count: int) -> None:
    text = run(MemoryDisk(), "help", profile=profile).stdout
    assert text.startswith("abort -- simulate a program crash using abort(3)\n")
    assert text.endswith("\n\nUse 'help commandname' for extended help.\n")
    assert ("aio_discard" in text, text.count(" -- ")) == (profile is QEMU_10_0, count)


@pytest.mark.parametrize(
    ("command", "stdout", "failed"),
    [
        ("write 0 512", "write failed: Input/output error\n", True),
        ("write -z 0 512", "write failed: Input/output error\n", True),
        ("writev 0 512", "writev failed: Input/output error\n", True),
        ("aio_write 0 512", "aio_write failed: Input/output error\n", False),
        ("read 0 512", "read failed: Input/output error\n", True),
        ("readv 0 512", "readv failed: Input/output error\n", True),
        ("aio_read 0 512", "readv failed: Input/output error\n", False),
        ("discard 0 512", "discard failed: Input/output error\n", True),
        ("aio_discard 0 512", "aio_discard failed: Input/output error\n", False),
        ("flush", "", True),
        ("alloc 0", "is_allocated failed: Input/output error\n", True),
    ],
)
def test_a_failing_disk_is_named_by_the_command_and_the_errno(command: str, stdout: str, failed: bool) -> None:
    disk = MemoryDisk()
    disk.error = errno.EIO
    assert run(disk, command) == Output(stdout, failed=failed)


@pytest.mark.parametrize("command", ["write 8M 512", "write 0 9M", "write 9M 0", "read 7E 512", "discard 0 9M"])
def test_a_request_beyond_the_end_is_an_io_error_that_the_disk_never_sees(command: str) -> None:
    disk = MemoryDisk()
    verb = command.partition(" ")[0]
    assert run(disk, command) == Output(f"{verb} failed: Input/output error\n", failed=True)
    assert disk.calls == []


def test_an_empty_device_has_no_medium_on_each_channel() -> None:
    disk = MemoryDisk()
    disk.error = errno.ENOMEDIUM
    assert run(disk, "write 0 512") == Output("write failed: No medium found\n", failed=True)
    assert run(disk, "length") == Output("getlength: No medium found\n", failed=True)
    assert run(disk, "map") == Output(hmp="Failed to query image length: No medium found\n", failed=True)
    assert run(disk, "truncate 0") == Output(hmp="No medium inserted\n", failed=True)


def test_a_driver_that_refuses_to_resize_is_heard_in_the_monitor() -> None:
    disk = MemoryDisk()
    assert run(disk, "truncate 100") == Output(hmp="The new size must be a multiple of 512\n", failed=True)
    assert disk.size == 8 * MIB


def test_permissions_come_after_the_argument_count_and_before_the_options() -> None:
    def refuse(permissions: tuple[str, ...]) -> None:
        raise QmpError("needs " + "+".join(permissions))

    disk = MemoryDisk()
    assert run(disk, "write 0", permit=refuse).stderr.startswith("bad argument count 1 to write")
    assert run(disk, "write x y", permit=refuse) == Output(hmp="needs write\n", failed=True)
    assert run(disk, "aio_write -i 0 1", permit=refuse) == Output(hmp="needs write\n", failed=True)
    assert run(disk, "truncate x", permit=refuse) == Output(hmp="needs write+resize\n", failed=True)
    assert run(disk, "read -q 0 1", permit=refuse) == Output()
    assert run(disk, "flush", permit=refuse) == Output()
    assert disk.calls == [("read", 0, 1), ("flush",)]


def test_pattern_verification_names_the_part_that_was_looked_at() -> None:
    disk = MemoryDisk()
    run(disk, "write -q -P 0x41 0 64k")
    assert run(disk, "read -q -P 0x41 0 64k") == Output()
    assert run(disk, "read -q -P 0x41 -l 64k 0 128k") == Output()
    failed = Output("Pattern verification failed at offset 65536, 65536 bytes\n", failed=True)
    assert run(disk, "read -q -P 0x41 -s 64k 0 128k") == failed
    assert run(disk, "aio_read -q -P 1 0 512 512") == Output("Pattern verification failed at offset 0, 1024 bytes\n")


def test_a_dump_shows_letters_and_digits() -> None:
    disk = MemoryDisk()
    disk.content[65530:65536] = b"A9z /\xe9"
    assert "".join(run(disk, "read -v 65530 18").printed()).startswith(
        "0000fffa:  41 39 7a 20 2f e9 00 00 00 00 00 00 00 00 00 00  A9z.............\n"
        "0001000a:  00 00  ..\n"
        "read 18/18 bytes at offset 65530\n"
    )
    assert run(disk, "read -v -q 0 64") == Output()


def test_map_and_alloc_join_neighbours_of_one_status() -> None:
    disk = MemoryDisk()
    run(disk, "write -q 0 100k")
    run(disk, "write -q 1M 3M")
    assert run(disk, "map").stdout == (
        "128 KiB (0x20000) bytes     allocated at offset 0 bytes (0x0)\n"
        "896 KiB (0xe0000) bytes not allocated at offset 128 KiB (0x20000)\n"
        "3 MiB (0x300000) bytes     allocated at offset 1 MiB (0x100000)\n"
        "4 MiB (0x400000) bytes not allocated at offset 4 MiB (0x400000)\n"
    )
    assert run(disk, "alloc 0 2M").stdout == "1179648/2097152 bytes allocated at offset 0 bytes\n"
    assert run(disk, "alloc 65000").stdout == "512/512 bytes allocated at offset 63.477 KiB\n"
    assert run(disk, "alloc 8388607 2").stdout == "0/1 bytes allocated at offset 8 MiB\n"
    assert run(disk, "alloc 9M").stdout == "0/0 bytes allocated at offset 9 MiB\n"


def test_length_is_in_the_largest_unit() -> None:
    assert [run(MemoryDisk(size), "length").stdout for size in (0, 512, 1536, 8 * MIB)] == [
        "0 bytes\n", "512 bytes\n", "1.500 KiB\n", "8 MiB\n",
    ]  # fmt: skip


def test_sleep_waits_for_milliseconds() -> None:
    slept: list[int] = []
    assert run(MemoryDisk(), "sleep 0x10", sleep=slept.append) == Output()
    assert slept == [16_000_000]


@pytest.mark.parametrize(
    "command",
    ["info", "sigraise 0", "write -b 0 512", "write -zn 0 64k", "write -s f 0 1", "truncate -m full 1M", "help write"],
)
def test_what_is_not_emulated_says_so_and_touches_nothing(command: str) -> None:
    disk = MemoryDisk()
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate "):
        run(disk, command)
    assert disk.calls == []


def test_truncate_without_a_size_is_not_imitated_where_qemu_crashes() -> None:
    with pytest.raises(UnsupportedError):
        run(MemoryDisk(), "truncate -m off", profile=QEMU_7_2)


def test_the_tool_collects_texts_and_exits_with_1_after_a_failure() -> None:
    disk = MemoryDisk()
    commands = ["write 9M 512", "truncate -m x 1", "aio_write 9M 1", "length", "quit", "flush"]
    assert qemu_io(disk, commands) == (
        "write failed: Input/output error\naio_write failed: Input/output error\n8 MiB\n",
        "qemu-io: Invalid preallocation mode 'x'\n",
        1,
    )
    assert disk.calls == []


def test_the_tool_exits_with_0_when_only_an_asynchronous_request_failed() -> None:
    assert qemu_io(MemoryDisk(), ["aio_write 9M 1", "length"])[2] == 0


def test_blocks_of_one_pattern_are_one_object() -> None:
    seen: list[bytes] = []

    class Keeping(MemoryDisk):
        def _allocate(self, offset: int, data: bytes) -> None:
            seen.append(data)
            super()._allocate(offset, data)

    run(Keeping(), "write -P 1 0 64k")
    run(Keeping(), "write -P 1 64k 64k")
    assert seen[0] is seen[1]
    assert type(seen[0]) is bytes


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("0x10", 16, 16), ("010", 10, 10), ("\n+1.5k", 1536, 1536), ("1.k", 1024, 1024), ("1b", 1, 1),
        ("5e", 5 << 60, 5 << 60), ("0x1e", 30, 30), ("0.3k", 307, 307), ("1.9999k", 2048, 2048), ("1.0", 1, 1),
        ("1.5", None, None), ("1e3", None, None), ("1KiB", None, None), ("", None, None), (".", None, None),
        (".5k", None, 512), (".0", None, 0), ("0x10k", 16384, None), ("1." + "9" * 20 + "k", 1024, 2048),
        ("." + "9" * 20, None, 1), ("1." + "0" * 30 + "1", 1, None),
        ("9223372036854775807", (1 << 63) - 1, (1 << 63) - 1),
    ],
)  # fmt: skip
def test_sizes_are_read_as_each_release_reads_them(text: str, old: int | None, new: int | None) -> None:
    for strict, value in ((False, old), (True, new)):
        if value is None:
            with pytest.raises(SizeError, match=r"^non-numeric argument, or extraneous/unrecognized suffix$"):
                parse_size(text, strict=strict)
        else:
            assert parse_size(text, strict=strict) == value


@pytest.mark.parametrize(
    "text", ["8E", "9223372036854775808", "0x8000000000000000", "99999999999999999999", "17179869184G"]
)
@pytest.mark.parametrize("strict", [False, True])
def test_sizes_beyond_63_bits_are_too_large(text: str, strict: bool) -> None:
    with pytest.raises(SizeError, match=r"^argument too large$"):
        parse_size(text, strict=strict)


@given(st.integers(0, (1 << 63) - 1), st.booleans())
def test_every_size_can_be_written_in_decimal_and_hexadecimal(value: int, strict: bool) -> None:
    assert parse_size(str(value), strict=strict) == value
    assert parse_size(hex(value), strict=strict) == value


@given(st.text(alphabet="0159.kMeEx+-fB \n", max_size=8), st.booleans())
def test_any_text_is_a_size_in_range_or_a_size_error(text: str, strict: bool) -> None:
    with suppress(SizeError):
        assert 0 <= parse_size(text, strict=strict) < 1 << 63


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers_are_read_in_all_bases_of_c(value: int) -> None:
    sign = "-" if value < 0 else ""
    assert [parse_integer(text) for text in (str(value), hex(value), f"{sign}0{abs(value):o}")] == [value] * 3


def test_amounts_lose_zeroes_only_as_a_whole() -> None:
    assert [format_size(value) for value in (0, 1.5, 1023, 1024, 1536, 8 * MIB - 1, 1 << 60)] == [
        "0 bytes", "1.500000 bytes", "1023 bytes", "1 KiB", "1.500 KiB", "8 MiB", "1 EiB",
    ]  # fmt: skip


def test_a_report_of_no_time_at_all_is_one_of_a_nanosecond() -> None:
    assert format_report("read", 0, 1, 0, csv=False) == format_report("read", 0, 1, 1, csv=False)


WORDS = st.sampled_from(
    [
        "0",
        "512",
        "64k",
        "9M",
        "x",
        "-q",
        "-C",
        "-v",
        "-z",
        "-u",
        "-f",
        "-P",
        "5",
        "-l",
        "-s",
        "-i",
        "--",
        "-",
    ]
)
VERBS = st.sampled_from(
    [
        "read",
        "readv",
        "write",
        "writev",
        "aio_read",
        "aio_write",
        "aio_discard",
        "discard",
        "alloc",
        "length",
        "map",
        "flush",
    ]
)


@given(VERBS, st.lists(WORDS, max_size=5), st.sampled_from([QEMU_7_2, QEMU_10_0]))
def test_any_words_give_one_output_twice_and_a_refusal_leaves_the_disk_alone(
    verb: str, words: list[str], profile: Profile
) -> None:
    command = " ".join([verb, *words])
    try:
        refusal = parse(command, profile).refusal
    except UnsupportedError:
        return
    disk, other = MemoryDisk(MIB), MemoryDisk(MIB)
    assert run(disk, command, profile=profile) == run(other, command, profile=profile)
    assert disk.calls == other.calls
    assert refusal is None or disk.calls == []


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(1, 64), st.integers(0, 255)), max_size=12))
def test_writes_and_verifying_reads_agree_with_a_plain_array(writes: list[tuple[int, int, int]]) -> None:
    disk, model = MemoryDisk(128 * 512), bytearray(128 * 512)
    for sector, count, byte in writes:
        start, end = sector * 512, min(sector + count, 128) * 512
        run(disk, f"write -q -P {byte} {start} {end - start}")
        model[start:end] = bytes([byte]) * (end - start)
        assert run(disk, f"read -q -P {byte:#x} {start} {end - start}") == Output()
    assert disk.content == model
