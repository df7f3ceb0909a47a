"""BlockdevCreateOptions and BlockdevAmendOptions: images that are made or changed by jobs (qapi/block-core.json).

Sizes are in bytes. Every member of the drivers that qbitsim emulates is declared, see :mod:`qbitsim.qapi.blockdev`.
"""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.qapi.blockdev import BlockdevDriver, BlockdevRef
from qbitsim.qapi.info import Qcow2CompressionType
from qbitsim.qapi.schema import REQUIRED, Int64, Size, arg, branch, enum_values, union
from qbitsim.qapi.structs import struct


class PreallocMode(StrEnum):
    """What of a new image is allocated from the beginning."""

    OFF = "off"
    METADATA = "metadata"
    FALLOC = "falloc"
    FULL = "full"


class BlockdevQcow2Version(StrEnum):
    """The version of the format."""

    V2 = "v2"
    V3 = "v3"


class QCryptoBlockFormat(StrEnum):
    """How a qcow2 image is encrypted."""

    QCOW = "qcow"
    LUKS = "luks"


@enum_values(since={"sm4": "9.0"})
class QCryptoCipherAlgo(StrEnum):
    """A cipher."""

    AES_128 = "aes-128"
    AES_192 = "aes-192"
    AES_256 = "aes-256"
    DES = "des"
    TRIPLE_DES = "3des"
    CAST5_128 = "cast5-128"
    SERPENT_128 = "serpent-128"
    SERPENT_192 = "serpent-192"
    SERPENT_256 = "serpent-256"
    TWOFISH_128 = "twofish-128"
    TWOFISH_192 = "twofish-192"
    TWOFISH_256 = "twofish-256"
    SM4 = "sm4"


class QCryptoCipherMode(StrEnum):
    """How a cipher is used."""

    ECB = "ecb"
    CBC = "cbc"
    XTS = "xts"
    CTR = "ctr"


class QCryptoIVGenAlgo(StrEnum):
    """How initialisation vectors are made."""

    PLAIN = "plain"
    PLAIN64 = "plain64"
    ESSIV = "essiv"


@enum_values(since={"sm3": "9.2"})
class QCryptoHashAlgo(StrEnum):
    """A hash."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA224 = "sha224"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"
    RIPEMD160 = "ripemd160"
    SM3 = "sm3"


@union("format")
@struct
class QCryptoBlockCreateOptions:
    """Encryption of a new image."""

    format: QCryptoBlockFormat


@branch(QCryptoBlockCreateOptions, QCryptoBlockFormat.QCOW)
@struct
class QCryptoBlockOptionsQCow(QCryptoBlockCreateOptions):
    """Encryption of old."""

    key_secret: str | None = None


@branch(QCryptoBlockCreateOptions, QCryptoBlockFormat.LUKS)
@struct
class QCryptoBlockCreateOptionsLUKS(QCryptoBlockCreateOptions):
    """Encryption as LUKS does it; ``iter_time`` in milliseconds."""

    key_secret: str | None = None
    cipher_alg: QCryptoCipherAlgo | None = None
    cipher_mode: QCryptoCipherMode | None = None
    ivgen_alg: QCryptoIVGenAlgo | None = None
    ivgen_hash_alg: QCryptoHashAlgo | None = None
    hash_alg: QCryptoHashAlgo | None = None
    iter_time: Int64 | None = None


@union("driver")
@struct
class BlockdevCreateOptions:
    """What to make."""

    driver: BlockdevDriver


@branch(BlockdevCreateOptions, "file")
@struct
class BlockdevCreateOptionsFile(BlockdevCreateOptions):
    """A file of the host."""

    filename: str
    size: Size
    preallocation: PreallocMode | None = None
    nocow: bool | None = None
    extent_size_hint: Size | None = arg(since="5.1")


@branch(BlockdevCreateOptions, "qcow2")
@struct
class BlockdevCreateOptionsQcow2(BlockdevCreateOptions):
    """A qcow2 image in a file that exists."""

    file: BlockdevRef
    data_file: BlockdevRef | None = arg(since="4.0")
    data_file_raw: bool | None = arg(since="4.0")
    extended_l2: bool | None = arg(since="5.2")
    size: Size = arg(REQUIRED)
    version: BlockdevQcow2Version | None = None
    backing_file: str | None = None
    backing_fmt: BlockdevDriver | None = None
    encrypt: QCryptoBlockCreateOptions | None = None
    cluster_size: Size | None = None
    preallocation: PreallocMode | None = None
    lazy_refcounts: bool | None = None
    refcount_bits: Int64 | None = None
    compression_type: Qcow2CompressionType | None = arg(since="5.1")


class BlockdevVmdkSubformat(StrEnum):
    """How a VMDK image is spread over files."""

    MONOLITHIC_SPARSE = "monolithicSparse"
    MONOLITHIC_FLAT = "monolithicFlat"
    TWO_GB_MAX_EXTENT_SPARSE = "twoGbMaxExtentSparse"
    TWO_GB_MAX_EXTENT_FLAT = "twoGbMaxExtentFlat"
    STREAM_OPTIMIZED = "streamOptimized"


class BlockdevVmdkAdapterType(StrEnum):
    """The adapter for which a VMDK image says it is."""

    IDE = "ide"
    BUSLOGIC = "buslogic"
    LSILOGIC = "lsilogic"
    LEGACY_ESX = "legacyESX"


@branch(BlockdevCreateOptions, "vmdk")
@struct
class BlockdevCreateOptionsVmdk(BlockdevCreateOptions):
    """A VMDK image in files that exist; ``extents`` are those beside the first."""

    file: BlockdevRef
    size: Size
    extents: list[BlockdevRef] | None = None
    subformat: BlockdevVmdkSubformat | None = None
    backing_file: str | None = None
    adapter_type: BlockdevVmdkAdapterType | None = None
    hwversion: str | None = None
    toolsversion: str | None = arg(since="6.2")
    zeroed_grain: bool | None = None


class QCryptoBlockLUKSKeyslotState(StrEnum):
    """Whether a key can be used."""

    ACTIVE = "active"
    INACTIVE = "inactive"


@union("format")
@struct
class QCryptoBlockAmendOptions:
    """Encryption of an image as it is to become."""

    format: QCryptoBlockFormat


@branch(QCryptoBlockAmendOptions, QCryptoBlockFormat.LUKS)
@struct
class QCryptoBlockAmendOptionsLUKS(QCryptoBlockAmendOptions):
    """Keys of LUKS; ``iter_time`` in milliseconds."""

    state: QCryptoBlockLUKSKeyslotState
    new_secret: str | None = None
    old_secret: str | None = None
    keyslot: Int64 | None = None
    iter_time: Int64 | None = None
    secret: str | None = None


@union("driver")
@struct
class BlockdevAmendOptions:
    """What to change."""

    driver: BlockdevDriver


@branch(BlockdevAmendOptions, "qcow2")
@struct
class BlockdevAmendOptionsQcow2(BlockdevAmendOptions):
    """What of a qcow2 image can be changed: its encryption."""

    encrypt: QCryptoBlockAmendOptions | None = None


@struct
class BlockdevCreate:
    """Arguments of blockdev-create."""

    job_id: str
    options: BlockdevCreateOptions


@struct
class BlockdevAmend:
    """Arguments of x-blockdev-amend."""

    job_id: str
    node_name: str
    options: BlockdevAmendOptions
    force: bool | None = None
