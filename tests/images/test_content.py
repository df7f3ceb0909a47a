"""Contents against a model: a bytearray and one kind per unit of allocation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qbitsim.images.chain import chain_status, digest, first_difference, read_chain, reader
from qbitsim.images.content import Content, Kind
from qbitsim.images.plain_content import PlainContent

UNIT = 512
SIZE = 40 * UNIT + 100  # more clusters than are looked at one by one, and a partial one
PAGE = 128


class Model:
    """One cell per allocation unit, by the simplest code that can be right."""

    def __init__(self, unit: int, cluster: int, size: int, *, zero_clusters: bool) -> None:
        self.unit, self.cluster, self.size, self.zero_clusters = unit, cluster, size, zero_clusters
        self.raw = unit < cluster
        self.data = bytearray(size)
        self.kinds = [Kind.HOLE] * -(-size // unit)

    def cells(self, start: int, stop: int) -> range:
        return range(start // self.unit, -(-stop // self.unit))

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data
        for cell in self.cells(offset, offset + len(data)) if data else ():
            self.kinds[cell] = Kind.DATA

    def whole(self, offset: int, end: int) -> list[int]:
        return [
            cell
            for cell in range(len(self.kinds))
            if offset <= cell * self.unit and min((cell + 1) * self.unit, self.size) <= end
        ]

    def write_zeroes(self, offset: int, length: int) -> None:
        end = offset + length
        whole = self.whole(offset, end)
        for cell in self.cells(offset, end) if length else ():
            if self.raw:
                self.kinds[cell] = Kind.HOLE if cell in whole else self.kinds[cell]
            elif cell in whole or self.kinds[cell] is not Kind.DATA:
                self.kinds[cell] = Kind.ZERO if self.zero_clusters else Kind.HOLE
        self.data[offset:end] = bytes(length)
        for cell in whole:
            self.data[cell * self.unit : (cell + 1) * self.unit] = bytes(self.unit)

    def discard(self, offset: int, length: int) -> None:
        if self.raw:
            self.write_zeroes(offset, length)
            return
        for cell in self.whole(offset, offset + length):
            if not self.zero_clusters:
                self.kinds[cell] = Kind.HOLE
            elif self.kinds[cell] is Kind.DATA:
                self.kinds[cell] = Kind.ZERO
            self.data[cell * self.unit : (cell + 1) * self.unit] = bytes(self.unit)

    def resize(self, size: int) -> None:
        """Change the size. What is behind the end in the last cluster stays, but in a plain file."""
        cells = -(-size // self.unit)
        del self.data[size if self.raw else cells * self.unit :]
        self.data.extend(bytes(cells * self.unit - len(self.data)))
        del self.kinds[cells:]
        self.kinds.extend([Kind.HOLE] * (cells - len(self.kinds)))
        self.size = size

    def runs(self) -> list[tuple[Kind, int, int]]:
        found: list[tuple[Kind, int, int]] = []
        for cell, kind in enumerate(self.kinds):
            start, stop = cell * self.unit, min((cell + 1) * self.unit, self.size)
            if found and found[-1][0] is kind:
                found[-1] = (kind, found[-1][1], stop - found[-1][1])
            else:
                found.append((kind, start, stop - start))
        return found


def runs(content: Content) -> list[tuple[Kind, int, int]]:
    found = [(kind, *piece) for kind in Kind for piece in content.ranges(kind)]
    return sorted(found, key=lambda run: run[1])


spots = st.integers(0, SIZE + 5 * UNIT) | st.integers(0, 45).map(lambda cluster: cluster * UNIT)
actions = st.lists(
    st.tuples(st.sampled_from(["write", "write", "zero", "discard", "resize"]), spots, spots, st.integers(0, 255)),
    max_size=12,
)
formats = st.sampled_from([(UNIT, True), (UNIT, False), (PAGE, True)])


def content_of(form: tuple[int, bool], size: int) -> Content:
    """An empty content in that format: its unit of allocation, and whether there are ZERO clusters."""
    page, zero_clusters = form
    return Content(size, UNIT, zero_clusters=zero_clusters) if page == UNIT else PlainContent(size, UNIT, page)


@given(formats, actions)
def test_a_content_reads_and_is_allocated_like_the_model(form: tuple[int, bool], steps: list) -> None:
    page, zero_clusters = form
    content = content_of(form, SIZE)
    model = Model(page, UNIT, SIZE, zero_clusters=zero_clusters)
    for what, one, other, byte in steps:
        start, stop = sorted((min(one, content.size), min(other, content.size)))
        if what == "write":
            grown = content.allocated + content.growth(start, stop - start)
            for target in (content, model):
                target.write(start, bytes([byte]) * (stop - start))
            assert content.allocated == grown
        elif what == "zero":
            for target in (content, model):
                target.write_zeroes(start, stop - start)
        elif what == "discard":
            for target in (content, model):
                target.discard(start, stop - start)
        else:
            for target in (content, model):
                target.resize(one)
        assert runs(content) == model.runs()
        assert content.read(0, content.size) == model.data[: model.size]
        for kind, start, length in model.runs():
            assert content.status(start + length // 2, content.size) == (kind, length - length // 2)


@given(actions, actions, st.lists(st.integers(0, 40), unique=True), formats)
def test_copying_clusters_is_reading_and_writing_them_one_by_one(
    before: list, source_steps: list, clusters: list[int], form: tuple[int, bool]
) -> None:
    contents = [content_of(form, SIZE) for _ in range(2)]
    for content, steps in zip(contents, (before, source_steps), strict=True):
        for what, one, other, byte in steps:
            start, stop = sorted((min(one, SIZE), min(other, SIZE)))
            if what == "write":
                content.write(start, bytes([byte]) * (stop - start))
            elif what != "resize":
                content.write_zeroes(start, stop - start)
    target, source = contents
    plain = target.clone()
    target.copy_clusters(source, clusters)
    for cluster in clusters:
        start, end = cluster * UNIT, min((cluster + 1) * UNIT, SIZE)
        while start < end:
            kind, run = source.status(start, end - start)
            if kind is Kind.DATA:
                plain.write(start, source.read(start, run))
            else:
                plain.write_zeroes(start, run)
            start += run
    assert runs(target) == runs(plain)
    assert first_difference([target], [plain]) is None


@given(st.lists(actions, min_size=1, max_size=3), actions, formats)
def test_a_chain_reads_like_layers_laid_over_each_other(layers: list, more: list, form: tuple[int, bool]) -> None:
    chain: list[Content] = []
    expected = b""
    for number, steps in enumerate(layers):
        size = SIZE - 700 * number
        top = content_of(form, size)
        model = bytearray(expected[:size].ljust(size, b"\0"))
        for what, one, other, byte in steps:
            start, stop = sorted((min(one, size), min(other, size)))
            if what == "write":
                top.write(start, bytes([byte]) * (stop - start), reader(chain) if form[0] == UNIT else None)
                model[start:stop] = bytes([byte]) * (stop - start)
            elif what == "zero" and form == (UNIT, True):
                top.write_zeroes(start, stop - start, reader(chain))
                model[start:stop] = bytes(stop - start)
        if form[0] < UNIT:
            chain, model = [], bytearray(top.read(0, size))  # a plain file has no backing file
        chain = [top, *chain]
        expected = bytes(model)
    assert read_chain(chain, 0, len(expected)) == expected
    flat = Content(len(expected), 2 * UNIT)
    flat.write(0, expected)
    assert first_difference(chain, [flat]) is None
    assert digest(chain) == digest([flat])
    for _, spot, _, byte in more:
        flat.write(min(spot, len(expected) - 1), bytes([byte]))
        pairs = enumerate(zip(expected, flat.read(0, flat.size), strict=True))
        first = next((place for place, (one, other) in pairs if one != other), None)
        assert first_difference([flat], chain) == first
        assert (digest(chain) == digest([flat])) is (first is None)


def test_one_aligned_block_is_stored_and_returned_as_the_same_object() -> None:
    block = bytes(range(256)) * 256
    content = Content(1 << 50, 65536)
    content.write(3 << 40, block)
    assert content.read(3 << 40, 65536) is block
    twin = content.clone()
    assert twin.read(3 << 40, 65536) is block
    target = Content(1 << 50, 65536)
    target.copy_clusters(content, [(3 << 40) // 65536])
    assert target.read(3 << 40, 65536) is block


def test_a_clone_does_not_see_later_changes() -> None:
    content = Content(1 << 20, 65536)
    content.write(0, b"x" * 65536)
    twin = content.clone()
    content.write(0, b"y" * 10)
    content.write_zeroes(65536, 65536)
    content.discard(0, 65536)
    assert runs(twin) == [(Kind.DATA, 0, 65536), (Kind.HOLE, 65536, (1 << 20) - 65536)]
    assert twin.read(0, 65536) == b"x" * 65536


def test_huge_disks_cost_nothing_until_written() -> None:
    content = Content(1 << 50, 65536)
    assert content.status(5, 1 << 50) == (Kind.HOLE, (1 << 50) - 5)
    content.write_zeroes(0, 1 << 50)
    assert content.status(5, 1 << 50) == (Kind.ZERO, (1 << 50) - 5)
    content.write((1 << 50) - 65536, b"x" * 65536)
    assert list(content.ranges(Kind.DATA)) == [((1 << 50) - 65536, 65536)]
    assert content.allocated == 65536
    content.discard(0, 1 << 50, backed=True)
    assert list(content.ranges(Kind.ZERO)) == [(0, 1 << 50)]


def test_bytes_of_zero_are_data() -> None:
    content = Content(1 << 20, 65536)
    content.write(0, bytes(65536))
    assert content.status(0, 1 << 20) == (Kind.DATA, 65536)


def test_a_file_is_allocated_by_pages() -> None:
    content = PlainContent(1 << 20)
    content.write(5000, b"x")
    assert runs(content) == [(Kind.HOLE, 0, 4096), (Kind.DATA, 4096, 4096), (Kind.HOLE, 8192, (1 << 20) - 8192)]
    assert content.allocated == 4096


def test_a_part_of_a_cluster_over_a_backing_file_stays_data_unless_that_is_known_to_be_zero() -> None:
    below = Content(1 << 20, 65536)
    below.write(0, b"b" * 65536)
    top = Content(1 << 20, 65536)
    for offset in (100, 65536 + 100):
        top.write_zeroes(
            offset, 100, reader([below]), lambda at, length: chain_status([below], at, length)[0] is not Kind.DATA
        )
    assert runs(top) == [(Kind.DATA, 0, 65536), (Kind.ZERO, 65536, 65536), (Kind.HOLE, 131072, (1 << 20) - 131072)]
    assert top.read(0, 300) == b"b" * 100 + bytes(100) + b"b" * 100


def test_a_discard_over_a_backing_file_hides_it() -> None:
    top = Content(1 << 20, 65536)
    top.discard(100, 200000, backed=True)
    assert runs(top) == [(Kind.HOLE, 0, 65536), (Kind.ZERO, 65536, 131072), (Kind.HOLE, 196608, (1 << 20) - 196608)]
    old = Content(1 << 20, 65536, zero_clusters=False)
    old.write(0, b"x" * 65536)
    old.discard(0, 1 << 20, backed=True)
    assert runs(old) == [(Kind.DATA, 0, 65536), (Kind.HOLE, 65536, (1 << 20) - 65536)]


def test_growth_over_a_longer_backing_file_reads_as_zeroes() -> None:
    top = Content(100000, 65536)
    top.resize(300000, zero_new=True)
    assert runs(top) == [(Kind.HOLE, 0, 131072), (Kind.ZERO, 131072, 300000 - 131072)]


def test_the_status_of_a_chain_names_the_layer() -> None:
    base, top = Content(1 << 20, 65536), Content(2 << 20, 65536)
    base.write(65536, b"b" * 65536)
    top.write(0, b"t" * 65536)
    chain = [top, base]
    assert chain_status(chain, 0, 1 << 20) == (Kind.DATA, 65536, 0)
    assert chain_status(chain, 65536, 1 << 20) == (Kind.DATA, 65536, 1)
    assert chain_status(chain, 131072, 2 << 20) == (Kind.HOLE, (1 << 20) - 131072, 1)
    assert chain_status(chain, 1 << 20, 1 << 20) == (Kind.ZERO, 1 << 20, 1)
