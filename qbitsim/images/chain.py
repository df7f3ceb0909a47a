"""What a chain of contents reads as.

A chain is a sequence of contents, the active one first, each the backing file of the one before. A hole shows the next
content; past the end of a shorter backing file, and below the last one, there are zeroes.

Comparisons visit only what some content of either chain has stored: everywhere else a chain reads as zeroes. Two chains
that share their blocks compare by identity, so that two 1 TiB disks cost as much as their stored clusters.
"""

from __future__ import annotations

from qbitsim.images.content import Content, Kind, Reader, zero_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

Chain: TypeAlias = "Sequence[Content]"
"""Contents from the active one down to the last backing file."""

MAXIMUM_CHECKED = 128 << 10
"""Bytes at the beginning of a disk that are read to see whether they are zeroes (MAX_ZERO_CHECK_BUFFER)."""

_DIGEST_UNIT = 65536


def read_chain(chain: Chain, offset: int, length: int) -> bytes:
    """The bytes that *chain* reads as; past the end of the first content there are zeroes, too."""
    if not chain or offset >= chain[0].size:
        return zero_block(length)
    top, end = chain[0], min(offset + length, chain[0].size)
    if len(chain) == 1:
        found = top.read(offset, end - offset)
        return found if len(found) == length else found.ljust(length, b"\0")
    parts: list[bytes] = []
    position = offset
    while position < offset + length:
        parts.append(_first_part(chain, position, offset + length - position))
        position += len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _first_part(chain: Chain, position: int, length: int) -> bytes:
    """The beginning of a range, as far as one layer says what it reads as."""
    for content in chain:
        if position >= content.size:
            break
        kind, run = content.status(position, min(length, content.size - position))
        if kind is not Kind.HOLE:
            return content.read(position, run)
        length = run
    return bytes(length)


def reader(chain: Chain) -> Reader | None:
    """:func:`read_chain` of *chain* as the ``below`` argument of a write; None for an empty chain."""
    return (lambda offset, length: read_chain(chain, offset, length)) if chain else None


def known_zero(chain: Chain) -> Callable[[int, int], bool] | None:
    """Whether *chain* is known to read as zeroes in a range, without a look at bytes; None for an empty chain.

    For the ``below_is_zero`` argument of a write of zeroes.
    """

    def is_zero(offset: int, length: int) -> bool:
        end = min(offset + length, chain[0].size)
        while offset < end:
            kind, run, _ = chain_status(chain, offset, end - offset)
            if kind is Kind.DATA:
                return False
            offset += run
        return True

    return is_zero if chain else None


def chain_status(chain: Chain, offset: int, length: int) -> tuple[Kind, int, int]:
    """``(kind, run, depth)`` at *offset*, which must be below the size of the first content.

    *depth* is the place in the chain of the content that the bytes come from. HOLE means that no content has anything,
    with *depth* that of the last content; the end of a shorter backing file counts as ZERO of that file, as for QEMU
    (block/io.c, bdrv_co_common_block_status_above, 10.0). *run* is at most *length*.
    """
    kind = Kind.HOLE
    for depth, content in enumerate(chain):
        if offset >= content.size:
            return Kind.ZERO, length, depth
        if depth and offset + length > content.size:
            length = content.size - offset
        kind, length = content.status(offset, length)
        if kind is not Kind.HOLE:
            return kind, length, depth
    return kind, length, len(chain) - 1


def is_all_zeroes(size: int, status: Callable[[int, int], tuple[bool, int]], read: Callable[[int, int], bytes]) -> bool:
    """Whether a whole disk is known to read as zeroes, or found to after a look at its beginning.

    (bdrv_co_is_all_zeroes, block/io.c, since QEMU 10.1)

    :param status: whether a range, (offset, length), is known to be zeroes where it begins, and how far that is so.
    :param read: the bytes of a range.
    """
    offset, data = 0, 0
    while offset < size:
        is_zero, length = status(offset, size - offset)
        if not is_zero:
            if offset or length > MAXIMUM_CHECKED:
                return False
            data = length
        offset += length
    return not any(read(0, data)) if data else True


def first_difference(one: Chain, other: Chain) -> int | None:
    """The first offset at which two chains read differently, None if there is none.

    The shorter one is taken to go on with zeroes, as ``qemu-img compare`` does.
    """
    unit = max((content.cluster_size for chain in (one, other) for content in chain), default=1)
    for number in _candidates([*one, *other], unit):
        left = read_chain(one, number * unit, unit)
        right = read_chain(other, number * unit, unit)
        if left != right:
            return number * unit + next(i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b)
    return None


def digest(chain: Chain) -> str:
    """A hexadecimal digest of what *chain* reads as and of its size; how it is stored has no influence.

    It tells contents apart and is no protection against somebody who forges them: of each 64 KiB only the CRC-32 goes
    into it, so that a GiB takes a quarter of a second. A change within 4 bytes is always seen, others all but once in
    2**32.
    """
    from hashlib import blake2b  # noqa: PLC0415  (costly to import, and rarely asked for)
    from zlib import crc32  # noqa: PLC0415

    unit = max([_DIGEST_UNIT, *(content.cluster_size for content in chain)])
    state = blake2b(str(chain[0].size if chain else 0).encode(), digest_size=16)
    empty = zero_block(_DIGEST_UNIT)
    for number in _candidates(chain, unit):
        for start in range(number * unit, (number + 1) * unit, _DIGEST_UNIT):
            block = read_chain(chain, start, _DIGEST_UNIT)
            if block != empty:
                state.update(start.to_bytes(8, "big") + crc32(block).to_bytes(4, "big"))
    return state.hexdigest()


def _candidates(contents: Chain, unit: int) -> list[int]:
    """The numbers of the *unit*-sized pieces in which any of *contents* has stored bytes, ascending."""
    numbers: set[int] = set()
    for content in contents:
        ratio = unit // content.cluster_size
        clusters = content.stored_clusters()
        numbers.update(clusters if ratio == 1 else {cluster // ratio for cluster in clusters})
    return sorted(numbers)
