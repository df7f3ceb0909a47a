"""What qemu-system-x86_64 refuses, in the words of real QEMU; every line was said to 7.2, 10.0 and 11.1."""

from __future__ import annotations

import shlex

import pytest

from qbitsim.errors import QmpError
from qbitsim.profiles import PROFILES
from qbitsim.programs.complaints import StartError
from qbitsim.programs.qemu_system.command_line import read_words
from qbitsim.programs.qemu_system.main import main
from qbitsim.programs.qemu_system.options import OPTIONS, Effect, find_option
from qbitsim.qapi.keyval import parse_keyval

RELEASES = ("7.2", "10.0", "11.1")
NONE = "-M none -display none -nodefaults "

SIZES = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
REFUSED = [
    ("-foo", "-foo: invalid option"),
    ("--foo", "--foo: invalid option"),
    ("-M none -display none -hda", "-hda: requires an argument"),
    ("-M none,foo=1 -display none", "Property 'none-machine.foo' not found"),
    ("-M none -display foo", "-display foo: Parameter 'type' does not accept value 'foo'"),
    ("-M none -display none -vga foo", "unknown vga type: foo"),
    ("-M none -display none -device foo", "-device foo: 'foo' is not a valid device model name"),
    (NONE + "-device virtio-blk", "-device virtio-blk: No 'PCI' bus found for device 'virtio-blk-pci'"),
    ("-display none -device virtio-blk-pci", "-device virtio-blk-pci: drive property not set"),
    (NONE + "-drive foo=bar", "-drive foo=bar: Must specify either driver or file"),
    (NONE + "-drive if=none,id=a -drive if=none,id=a", "-drive if=none,id=a: Duplicate ID 'a' for drive"),
    (NONE + "-drive if=virtio", "-drive if=virtio: No 'PCI' bus found for device 'virtio-blk-pci'"),
    (NONE + "-drive if=ide", "-drive if=ide: machine type does not support if=ide,bus=0,unit=0"),
    (
        NONE + "-drive if=none,index=1 -drive if=none,index=1",
        "-drive if=none,index=1: drive with bus=0, unit=1 (index=1) exists",
    ),
    (NONE + "-blockdev foo", "-blockdev foo: Parameter 'driver' does not accept value 'foo'"),
    (NONE + "-blockdev null-co", "-blockdev null-co: 'node-name' must be specified for the root node"),
    (NONE + "-blockdev null-co,b", "-blockdev null-co,b: Expected '=' after parameter 'b'"),
    (NONE + "-blockdev null-co,size=1x", "-blockdev null-co,size=1x: Parameter 'size' expects integer"),
    (NONE + "-blockdev help", "-blockdev help: Help is not available for this option"),
    (NONE + "-object iothread", "-object iothread: Parameter 'id' is missing"),
    (NONE + "-object iothread,id=a,foo=1", "-object iothread,id=a,foo=1: Invalid parameter 'foo'"),
    (NONE + "-chardev foo,id=a", "-chardev foo,id=a: 'foo' is not a valid char driver name"),
    (NONE + "-chardev null", "-chardev null: chardev: no id specified"),
    (NONE + "-chardev socket,id=a", "-chardev socket,id=a: Unable to parse FD number "),
    (NONE + "-chardev socket,id=a,fd=0", "-chardev socket,id=a,fd=0: File descriptor '0' is not a socket"),
    (NONE + "-chardev file,id=a", "-chardev file,id=a: chardev: file: no filename given"),
    (NONE + "-qmp chardev:foo", '-qmp chardev:foo: chardev "foo" not found'),
    (NONE + "-qmp tcp:foo", "-qmp tcp:foo: parse error: tcp:foo"),
    (NONE + "-add-fd fd=0,set=1", "-add-fd fd=0,set=1: fd cannot be a standard I/O stream"),
    (NONE + "-uuid foo", "-uuid foo: failed to parse UUID string: wrong format"),
    (NONE + "-name a=b", "-name a=b: Invalid parameter 'a'"),
    (NONE + "-set foo", '-set foo: can\'t parse: "foo"'),
    (NONE + "-set a.b.c=d", "-set a.b.c=d: There is no option group 'a'"),
    (NONE + "-set object.x.y=1", "-set object.x.y=1: -set is not supported with object"),
    (NONE + "-set netdev.x.y=z", '-set netdev.x.y=z: there is no netdev "x" defined'),
    (NONE + "-set drive.x.file=/nope", '-set drive.x.file=/nope: there is no drive "x" defined'),
    (NONE + "-chardev null,id=x -set chardev.x.foo=x", "-set chardev.x.foo=x: Invalid parameter 'foo'"),
    (
        NONE + "-drive if=none,id=x,driver=null-co -set drive.x.if=virtio",
        "-drive if=none,id=x,driver=null-co: No 'PCI' bus found for device 'virtio-blk-pci'",
    ),
    (NONE + "-global foo=bar", "-global foo=bar: Invalid parameter 'foo'"),
    (
        NONE + "-global driver=foo,property=bar",
        "-global driver=foo,property=bar: options 'driver', 'property', and 'value' are required",
    ),
    (NONE + "-monitor chardev:c -qmp chardev:c", "-qmp chardev:c: Duplicate ID 'c' for mon"),
    (NONE + "-device pci-device", "-device pci-device: Parameter 'driver' expects a non-abstract device type"),
    (NONE + "-seed x", "-seed x: Invalid seed number: x"),
    (NONE + "-action panic=foo", "-action panic=foo: Parameter 'panic' does not accept value 'foo'"),
    (NONE + "-nic foo", "-nic foo: Parameter 'type' does not accept value 'foo'"),
    (NONE + "-boot foo", "Boot device 'o' was given twice"),
    (NONE + "-boot order=c,foo=1", "Parameter 'boot.foo' is unexpected"),
    (NONE + "-smp 2", "Invalid SMP CPUs 2. The max CPUs supported by machine 'none' is 1"),
    (NONE + "-m 64,slots=2", "slots specified but no max-size"),
    ("-display none -cpu foo", "unable to find CPU model 'foo'"),
    (NONE + "-cpu qemu64", "apic-id property was not initialized properly"),
    (NONE + "-device foo,help -blockdev foo", "-blockdev foo: Parameter 'driver' does not accept value 'foo'"),
    (NONE + "-object foo,help", "-object foo,help: Parameter 'qom-type' does not accept value 'foo'"),
    (NONE + "-drive if=none,detect-zeroes=5", "-drive if=none,detect-zeroes=5: invalid parameter value: 5"),
    (NONE + "-drive if=none,discard=on", "-drive if=none,discard=on: Must specify either driver or file"),
    (NONE + "-loadvm s", "no block device can store vmstate for snapshot"),
    (NONE + "-loadvm s -incoming defer", "'incoming' and 'loadvm' options are mutually exclusive"),
    (NONE + "-append foo", "-append only allowed with -kernel option"),
    (NONE + "-accel foo", "-accel foo: invalid accelerator foo"),
    (NONE + "-cpu qemu64,foo=1 -qmp chardev:c", '-qmp chardev:c: chardev "c" not found'),
    (NONE + "-smp foo", "Parameter 'smp.cpus' expects integer"),
    (
        NONE + "-pidfile /nope/x",
        "cannot create PID file: Could not create '/nope/x': No such file or directory",
    ),
    (
        NONE + "-qmp foo",
        "-qmp foo: 'foo' is not a valid char driver\nqemu-system-x86_64: -qmp foo: parse error: foo",
    ),
    (
        NONE + "-m foo",
        f"-m foo: Parameter 'size' expects a non-negative number below 2^64\n{SIZES}",
    ),
]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("words", "text"), REFUSED)
def test_what_is_refused(words: str, text: str, release: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words), PROFILES[release]) == 1
    assert capsys.readouterr() == ("", f"qemu-system-x86_64: {text}\n")


@pytest.mark.parametrize(
    ("release", "text"), [("7.2", "unsupported machine type"), ("10.0", 'unsupported machine type: "foo"')]
)
def test_an_unknown_type_of_machine(release: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-M", "foo"], PROFILES[release]) == 1
    hint = "Use -machine help to list supported machines"
    assert capsys.readouterr().err == f"qemu-system-x86_64: {text}\n{hint}\n"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("foo", "Device 'foo' not found"),
        ("pci-device", "Parameter 'typename' expects a non-abstract device type"),
    ],
)
def test_a_device_without_help_is_no_failure(
    name: str, text: str, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(f"-M foo -device {name},help -device bar"), PROFILES[release]) == 0
    assert capsys.readouterr().err == f"qemu-system-x86_64: -device {name},help: {text}\n"


def test_accelerators_are_tried_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(NONE + "-accel foo -accel bar"), PROFILES["10.0"]) == 1
    tried = "".join(f"qemu-system-x86_64: -accel {name}: invalid accelerator {name}\n" for name in ("foo", "bar"))
    assert capsys.readouterr().err == tried
    assert main(shlex.split("-M none,accel=foo:kvm -display none -mon c"), PROFILES["10.0"]) == 1
    assert capsys.readouterr().err == (
        "qemu-system-x86_64: invalid accelerator foo\nqemu-system-x86_64: falling back to KVM\n"
        'qemu-system-x86_64: -mon c: chardev "c" not found\n'
    )


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("7.2", 'chardev "c" not found'),
        ("10.0", 'chardev "c" not found'),
        ("11.1", "'pretty' is not compatible with HMP monitors"),
    ],
)
def test_a_monitor_for_people_that_is_to_be_pretty(release: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(NONE + "-mon c,pretty=on"), PROFILES[release]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"qemu-system-x86_64: -mon c,pretty=on: {text}"


@pytest.mark.parametrize(("release", "prompt"), [("7.2", "(qemu) "), ("10.0", ""), ("11.1", "")])
def test_the_banner_of_a_monitor_on_the_terminal_comes_before_what_fails_later(
    release: str, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split("-M none -monitor stdio -device nosuch"), PROFILES[release]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[0].endswith(" monitor - type 'help' for more information")
    assert said.out.splitlines()[1:] == [prompt] * bool(prompt)
    assert said.err.endswith("-device nosuch: 'nosuch' is not a valid device model name\n")


def test_a_snapshot_cannot_be_loaded_and_the_start_be_put_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split("-M none -preconfig -loadvm s"), PROFILES["10.0"]) == 1
    assert capsys.readouterr().err.endswith(": 'preconfig' and 'loadvm' options are mutually exclusive\n")


@pytest.mark.parametrize("words", ["-readconfig f", "-preconfig"])
def test_what_matters_and_is_not_emulated_is_refused_by_name(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words), PROFILES["10.0"]) == 1
    assert "qbitsim does not emulate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        ("-version", "QEMU emulator version 10.0.13"),
        ("-help", "QEMU emulator version 10.0.13"),
        ("-machine help", "Supported machines are:\nmicrovm              microvm (i386)\n"),
        ("-M none -device help", "Controller/Bridge/Hub devices:\n"),
        (NONE + "-drive format=help", "Supported formats: blkdebug blklogwrites "),
        (
            "-M none -device virtio-blk,help",
            "virtio-blk-pci options:\n  account-failed=<OnOffAuto> - on/off/auto (default: auto)",
        ),
        ("-M none -object help", "List of user creatable objects:\n  acpi-generic-initiator\n"),
        ("-M none -object iothread,help", "iothread options:\n  aio-max-batch=<int>\n"),
        ("-M none -chardev help", "Available chardev backend types: \n  stdio\n"),
        ("-accel help", "Accelerators supported in QEMU binary:\ntcg\n"),
    ],
)
def test_help(words: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words), PROFILES["10.0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(begins)
    assert err == ""


def test_an_unknown_option_is_refused_whatever_else_there_is() -> None:
    with pytest.raises(StartError, match=r"^invalid option$"):
        read_words(["-version", "-foo"], PROFILES["10.0"])


def test_the_table_says_what_becomes_of_every_option() -> None:
    assert find_option(PROFILES["7.2"], "run-with") is None
    assert find_option(PROFILES["10.0"], "chroot") is None
    assert {option.effect for option in OPTIONS.values()} == set(Effect)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (
            "qcow2,file.driver=file,file.filename=a,,b",
            {"driver": "qcow2", "file": {"driver": "file", "filename": "a,b"}},
        ),
        ("driver=q,c.0=a,c.1.x=b", {"driver": "q", "c": ["a", {"x": "b"}]}),
        ("a,x=1,x=2", {"driver": "a", "x": "2"}),
    ],
)
def test_dotted_keys(text: str, tree: dict[str, object]) -> None:
    assert parse_keyval(text, "driver") == tree


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("a,file=b,file.x=c", "Parameters 'file.*' used inconsistently"),
        ("a,c.1=b", "Parameter 'c.0' missing"),
        ("a,c.0=b,c.x=b", "Parameters 'c.*' used inconsistently"),
        ("a,.=b", "Invalid parameter '.'"),
    ],
)
def test_keys_that_do_not_fit(text: str, refusal: str) -> None:
    with pytest.raises(QmpError) as caught:
        parse_keyval(text, "driver")
    assert caught.value.desc == refusal
