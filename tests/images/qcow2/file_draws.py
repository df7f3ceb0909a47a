"""Draws command lines that make a qcow2 file ``d`` with all that can be in it, perhaps over a backing file ``b``."""

from __future__ import annotations

from hypothesis import strategies as st

SECTOR = 512
PREALLOCATED = [
    ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=full", "d", "1M"],
    ["qemu-io", "-c", "write -q -P 3 70k 90k", "-c", "write -q -z 128k 64k", "d"],
]


def everything(cluster: int, *options: str) -> list[list[str]]:
    """Command lines for a file with some of everything that can be in one."""
    made = ",".join((f"cluster_size={cluster}", *options))
    packed = [f"write -q -c -P {pattern} {(524288 + pattern * cluster)} {cluster}" for pattern in (0, 5, 6)]
    lines = [
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", made, "d", "1M"],
        ["qemu-io", "-c", "write -q -P 3 0 90k", *(word for each in packed for word in ("-c", each)), "d"],
        ["qemu-img", "snapshot", "-c", "one", "d"],
        ["qemu-io", "-c", "write -q -P 4 40k 20k", "-c", "discard -q 64k 32k", "d"],
        ["qemu-img", "snapshot", "-c", "two", "d"],
        ["qemu-img", "snapshot", "-d", "one", "d"],
    ]
    if "compat=0.10" not in options:
        lines += [
            ["qemu-img", "bitmap", "--add", "-g", "512", "d", "b0"],
            ["qemu-io", "-c", "write -q -P 9 100k 300k", "d"],
            ["qemu-img", "resize", "-q", "d", "3M"],
            ["qemu-img", "bitmap", "--add", "d", "b1"],
            ["qemu-img", "bitmap", "--disable", "d", "b0"],
        ]
    return lines


EVERYTHING = everything(512)
STORIES = [
    EVERYTHING,
    everything(1024, "compat=0.10"),
    everything(4096, "refcount_bits=4"),
    everything(65536, "refcount_bits=16"),
    everything(65536, "refcount_bits=64")[:6],
]
"""Files with some of everything that can be in one."""
CLUSTERS = (512, 1024, 4096, 65536, 2 << 20)


@st.composite
def line_lists(draw: st.DrawFn) -> list[list[str]]:
    """Command lines; some of the later ones may fail."""
    cluster = draw(st.sampled_from(CLUSTERS))
    size = draw(st.integers(1, 96)) * draw(st.sampled_from((SECTOR, 4096, 65536)))
    old = draw(st.integers(0, 3)) == 0
    options = [f"cluster_size={cluster}", f"compat={'0.10' if old else '1.1'}"]
    if not old:
        options.append(f"refcount_bits={draw(st.sampled_from((1, 2, 4, 8, 16, 16, 16, 32, 64)))}")
        options.append(f"lazy_refcounts={draw(st.sampled_from(('off', 'on')))}")
    backed = draw(st.booleans())
    lines = []
    if backed:
        below = draw(st.integers(1, size // SECTOR + 8)) * SECTOR
        lines.append(["qemu-img", "create", "-q", "-f", "raw", "b", str(below)])
        lines.append(["qemu-io", "-f", "raw", "-c", f"write -q -P 17 0 {below}", "b"])  # no holes
    where = ["-b", "b", "-F", "raw"] if backed else []
    lines.append(["qemu-img", "create", "-q", "-f", "qcow2", "-o", ",".join(options), *where, "d", str(size)])
    return lines + draw(st.lists(_lines(size, cluster, old=old), min_size=1, max_size=7))


@st.composite
def _lines(draw: st.DrawFn, size: int, cluster: int, *, old: bool) -> list[str]:
    kinds = ["io"] * 4 + ["snapshot", "resize"] + ["bitmap"] * (0 if old else 2)
    match draw(st.sampled_from(kinds)):
        case "snapshot":
            action = draw(st.sampled_from(("-c", "-c", "-c", "-d", "-a")))
            return ["qemu-img", "snapshot", action, draw(st.sampled_from(("one", "two"))), "d"]
        case "resize":
            return ["qemu-img", "resize", "-q", "--shrink", "d", str(draw(st.integers(1, 2 * size // SECTOR)) * SECTOR)]
        case "bitmap":
            return ["qemu-img", "bitmap", *draw(_bitmap_arguments())]
    requests = draw(st.lists(_requests(size, cluster), min_size=1, max_size=5))
    return ["qemu-io", *(word for request in requests for word in ("-c", request)), "d"]


@st.composite
def _bitmap_arguments(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(("b0", "b1", "x" * 40)))
    action = draw(st.sampled_from(("--add", "--add", "--add", "--disable", "--enable", "--clear", "--remove")))
    granularity = ["-g", str(draw(st.sampled_from((512, 4096, 65536))))] if action == "--add" else []
    return [action, *granularity, "d", name]


@st.composite
def _requests(draw: st.DrawFn, size: int, cluster: int) -> str:
    start = draw(st.integers(0, size // SECTOR - 1)) * SECTOR
    length = min(draw(st.integers(1, 8)) * draw(st.sampled_from((SECTOR, 4096, cluster))), size - start)
    pattern = draw(st.integers(1, 255))
    match draw(st.sampled_from("wwwzzudc")):
        case "w":
            return f"write -q -P {pattern} {start} {length}"
        case "z":
            return f"write -q -z {start} {length}"
        case "u":
            return f"write -q -z -u {start} {length}"
        case "d":
            return f"discard -q {start} {length}"
    start = start // cluster * cluster
    return f"write -q -c -P {pattern} {start} {min(cluster, size - start)}"
