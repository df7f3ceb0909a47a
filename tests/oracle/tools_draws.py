"""Draws command lines of qemu-img and qemu-io for images that are there, and now and then for some that are not."""

from __future__ import annotations

import random

from qbitsim.images.image import Image
from qbitsim.images.store import ImageStore

NAMES = ("a", "b", "c", "d")
KIB = 1024


class ToolsDrawer:
    """Draws the next command line.

    :param store: the images as they are.
    """

    def __init__(self, rng: random.Random, store: ImageStore) -> None:
        self.rng = rng
        self.store = store

    def line(self) -> str:
        """One command line."""
        if not self.store.names() or self.rng.random() < 0.06:
            return self.create()
        draw = self.rng.choices(
            (self.io, self.snapshot, self.bitmap, self.resize, self.look, self.convert, self.chain, self.odd),
            (30, 8, 7, 6, 14, 8, 8, 4),
        )[0]
        return draw()

    # -- names and numbers

    def name(self, format_name: str | None = "qcow2") -> str:
        """The name of an image of that format, if there is one."""
        fitting = [name for name in self.store.names() if format_name in {None, self.image(name).format}]
        return self.rng.choice(fitting or self.store.names())

    def fresh(self) -> str:
        """A name that is free, or will be written over."""
        return self.rng.choice(NAMES) + ".qcow2"

    def image(self, name: str) -> Image:
        """The image of that name."""
        return self.store.lookup(name)

    def range(self, image: Image) -> tuple[int, int]:
        """Offset and length, often of whole clusters; always if clusters are so large that they have holes."""
        unit = image.cluster_size or 4096
        part = 512 if unit <= 4096 and image.format == "qcow2" else unit
        unit = self.rng.choice((part, unit, unit, unit, 4 * unit))
        if image.size < unit:
            return 0, image.size
        offset = self.rng.randrange(0, image.size // unit) * unit
        most = max(unit, min(image.size - offset, self.rng.choice((unit, unit, 3 * unit, 32 * unit, 1024 * KIB))))
        return offset, min(image.size - offset, self.rng.randrange(0, most // unit + 1) * unit or unit)

    # -- making

    def create(self) -> str:
        """A new image, some with a backing file."""
        rng = self.rng
        if rng.random() < 0.1:
            return f"qemu-img create -q r.raw {rng.choice((64, 300, 1024))}k"
        unit = rng.choice((512, 512, 1024, 4096, 65536, 65536))
        options = [f"cluster_size={unit}"]
        if rng.random() < 0.15:
            options.append("compat=0.10")
        elif rng.random() < 0.3:
            options.append(f"refcount_bits={rng.choice((4, 8, 16, 32, 64))}")
        name, size = self.fresh(), rng.choice((unit, 64 * KIB, 200 * KIB, 1000 * KIB, 3000 * KIB))
        if unit == 512:
            size = min(size, 1000 * KIB)
        others = [other for other in self.store.names() if other != name and not self.uses(other, name)]
        backing = ""
        if others and rng.random() < 0.4:
            other = rng.choice(others)
            backing = f" -b {other} -F {self.image(other).format}"
        return f"qemu-img create -q -f qcow2 -o {','.join(options)}{backing} {name} {size}"

    def uses(self, name: str, below: str) -> bool:
        """Whether the chain of *name* leads to *below*."""
        try:
            return any(self.store.lookup(below) is image for image in self.store.chain(name))
        except OSError:
            return below not in self.store

    def io(self) -> str:
        """Some requests of qemu-io."""
        name = self.name(None if self.rng.random() < 0.1 else "qcow2")
        image = self.image(name)
        commands = [self.request(image) for _ in range(self.rng.randrange(1, 5))]
        driver = f"-f {image.format} "
        return f"qemu-io {driver}" + " ".join(f"-c '{command}'" for command in commands) + f" {name}"

    def request(self, image: Image) -> str:
        """One request."""
        rng = self.rng
        offset, length = self.range(image)
        pattern = rng.randrange(1, 255)
        kind = rng.choices(("write", "zero", "unmap", "discard", "compressed", "read"), (10, 4, 3, 4, 3, 1))[0]
        if image.format == "raw" and kind != "read":
            kind = "write"  # what else leaves allocated is up to the host's file system
        if kind == "write":
            return f"write -P {pattern} {offset} {length}"
        if kind == "zero":
            return f"write -z {offset} {length}"
        if kind == "unmap":
            return f"write -z -u {offset} {length}"
        if kind == "discard":
            return f"discard {offset} {length}"
        if kind == "compressed" and image.format == "qcow2":
            unit = image.content.cluster_size
            offset -= offset % unit
            return f"write -c -P {pattern} {offset} {min(unit, image.size - offset)}"
        return f"alloc {offset} {length}"

    # -- changing

    def snapshot(self) -> str:
        """Internal snapshots."""
        name = self.name()
        snapshots = [found.name for found in self.image(name).snapshots] if name in self.store else []
        kind = self.rng.choice("ccadl")
        chosen = self.rng.choice(snapshots) if snapshots and kind != "c" else self.rng.choice(("s1", "s2", "long-name"))
        return f"qemu-img snapshot -l {name}" if kind == "l" else f"qemu-img snapshot -{kind} {chosen} {name}"

    def bitmap(self) -> str:
        """Stored bitmaps."""
        name = self.name()
        bitmaps = [found.name for found in self.image(name).bitmaps]
        chosen = self.rng.choice([*bitmaps, "b1", "b2"])
        action = self.rng.choice(("--add", "--add", "--add -g 512", "--remove", "--clear", "--enable", "--disable"))
        return f"qemu-img bitmap {action} {name} {chosen}"

    def resize(self) -> str:
        """Grow or shrink."""
        name = self.name()
        size = self.rng.choice((1, 7, 64, 100, 500, 1000, 2500)) * 512 * self.rng.choice((1, 2))
        return f"qemu-img resize --shrink -f {self.image(name).format} {name} {size}"

    def convert(self) -> str:
        """Copies."""
        rng = self.rng
        name, target = self.name(None), self.fresh()
        options = rng.choice(("", "", "-c ", "-S 0 ", "-S 64k ", "-o cluster_size=4k ", "-o compat=0.10 "))
        if rng.random() < 0.2 and target in self.store and self.image(target).format == "qcow2":
            options = "-n "
        if rng.random() < 0.2:
            options += "--bitmaps "
        if rng.random() < 0.1:
            return f"qemu-img convert -O raw {name} r.raw"
        return f"qemu-img convert {options}-O qcow2 {name} {target}"

    def chain(self) -> str:
        """Commit and rebase."""
        rng = self.rng
        name = self.name()
        if rng.random() < 0.4:
            return f"qemu-img commit {rng.choice(('', '', '-d '))}{name}"
        others = [other for other in self.store.names() if other != name and not self.uses(other, name)]
        if not others or rng.random() < 0.2:
            return f"qemu-img rebase -b '' {name}"
        other = rng.choice(others)
        return f"qemu-img rebase {rng.choice(('', '', '', '-u '))}-b {other} -F {self.image(other).format} {name}"

    # -- looking

    def look(self) -> str:
        """Commands that change nothing."""
        rng, name = self.rng, self.name(None if self.rng.random() < 0.2 else "qcow2")
        return rng.choice(
            (
                f"qemu-img check {name}",
                f"qemu-img check --output json {name}",
                f"qemu-img map --output json {name}",
                f"qemu-img map {name}",
                f"qemu-img info {name}",
                f"qemu-img info --output json {name}",
                f"qemu-img measure -O qcow2 {name}",
                f"qemu-img measure -O qcow2 -o cluster_size=512 --output json {name}",
                f"qemu-img compare {name} {self.name(None)}",
                f"qemu-io -r -f {self.image(name).format} -c map {name}",
            )
        )

    def odd(self) -> str:
        """What is rarely done."""
        rng, name = self.rng, self.name()
        if rng.random() < 0.6:
            option = rng.choice(("compat=0.10", "compat=1.1", "lazy_refcounts=on", "lazy_refcounts=off"))
            if rng.random() < 0.4:
                option = f"refcount_bits={rng.choice((8, 16, 64))}"
            return f"qemu-img amend -o {option} {name}"
        return f"qemu-img dd bs={rng.choice(('512', '3k', '64k'))} -O qcow2 if={name} of={self.fresh()}"
