"""The subcommands of qemu-img that tell of one image: info and check; for ``map`` see :mod:`.map`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from qbitsim.block.limits import Limits, merged
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.image import Image
from qbitsim.images.qcow2.check import CheckResult, check_file
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.qemu_img.files import Call, check_cache, find_image, open_image, output_format
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.options import ToolError
from qbitsim.qemu_img.snapshot import listing, snapshot_info
from qbitsim.records import changed
from qbitsim.sizes import human_size

_WITHOUT_HOST_CACHE = ("none", "off", "directsync")
_CACHE_MODES = (None, *_WITHOUT_HOST_CACHE, "writeback", "writethrough", "unsafe")
_Json = dict[str, object]


# -- info


def info(call: Call) -> int:
    """``qemu-img info``."""
    options = call.options
    options.only("f", "output", "backing-chain", "U", "t", "limits", "image-opts")
    output = output_format(call)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    name, chosen, found = options.words[0], options.last("f"), list[tuple[_Json, Image]]()
    names: set[str] = set()
    cache = options.last("t")
    if cache not in _CACHE_MODES:
        raise ToolError(f"Invalid cache option: {cache}")
    while True:
        if name in names:  # collect_image_info_list (qemu-img.c, QEMU 10.0)
            raise ToolError(f"Backing file '{name}' creates an infinite loop.")
        names.add(name)
        word = name
        image = _open_for_info(call, name, chosen, as_options="image-opts" in options and not found)
        name = call.file_name(name)
        found.append((_image_info(call, image, word, chosen), image))
        if "backing-chain" not in options or image.backing is None:
            break
        name, chosen = call.store.backing_name(name, image.backing), image.backing_format
    if output == "json":
        infos = [each for each, _ in found]
        call.print(_pretty(infos if "backing-chain" in options else infos[0]) + "\n")
    else:
        call.print("\n".join(_human_info(each, listing(image, call.profile)) for each, image in found))
    return 0


def _open_for_info(call: Call, name: str, chosen: str | None, *, as_options: bool) -> Image:
    if not as_options and chosen == "raw" and known_format(chosen):
        try:
            return find_image(call.store, name, chosen)
        except ToolError as error:
            raise ToolError(f"Could not open '{name}': {error.text}") from None
    return open_image(call, name, chosen, backing=False, data=False, as_options=as_options)


def _image_info(call: Call, image: Image, word: str, chosen: str | None) -> _Json:
    """The members of ImageInfo in the order of QEMU's hash table."""
    has_format, name, protocol = image.format != "raw", call.file_name(word), call.protocol(word)
    remote = call.store.is_remote(image.name)
    shown = image.name.partition("#")[0] if remote else name
    full = None if image.backing is None else call.store.backing_name(name, image.backing)
    specific = _specific_info(image, shown)
    file, limits = _file_info(call, image, shown), _limits(call, image, word, chosen)
    children = [] if protocol else [{"name": "file", "info": file}]
    members: list[tuple[str, object, bool]] = [
        ("limits", limits, "limits" in call.options),
        ("children", children, call.profile.qemu_img_info_shows_children),
        ("backing-filename-format", image.backing_format, full is not None and image.backing_format is not None),
        ("snapshots", [snapshot_info(found) for found in image.snapshots], bool(image.snapshots)),
        ("virtual-size", image.size if has_format else image.file_length, True),
        ("filename", shown, True),
        ("cluster-size", image.cluster_size, has_format),
        ("format", protocol or image.format, True),
        ("actual-size", image.actual_size, not remote),
        ("format-specific", specific, specific is not None),
        ("full-backing-filename", full, full is not None),
        ("backing-filename", image.backing, full is not None),
        ("dirty-flag", isinstance(image, Qcow2Image) and image.kept_header.dirty, has_format or not remote),
    ]
    return {key: value for key, value, present in members if present}


def _specific_info(image: Image, shown: str) -> _Json | None:
    if isinstance(image, Qcow2Image):
        return {"type": "qcow2", "data": _qcow2_info(image)}
    if image.format == "raw":
        return None
    from qbitsim.images.vmdk.image import VmdkImage  # noqa: PLC0415 - few files hold one
    from qbitsim.images.vmdk.info import specific_info  # noqa: PLC0415

    assert isinstance(image, VmdkImage)
    return {"type": "vmdk", "data": specific_info(image, shown)}


def _limits(call: Call, image: Image, word: str, chosen: str | None) -> _Json:
    """What the format asks of requests; a format that was only guessed to be raw asks for whole sectors."""
    file = _file_limits(call, image)
    if call.protocol(word) is not None:
        return {**file.described()}
    if image.format == "qcow2":
        own = changed(merged([file]), discard=image.content.cluster_size, zeroes=image.content.cluster_size)
    elif image.format == "vmdk":
        own = changed(merged([file]), zeroes=image.content.cluster_size)
    else:
        own = changed(merged([file]), request=512 if chosen is None else 1)
    return {**own.described()}


def _file_limits(call: Call, image: Image) -> Limits:
    if call.store.is_remote(image.name):
        from qbitsim.qemu_img.remote import limits_of  # noqa: PLC0415 - for those who are clients

        return limits_of(image.file)
    alignment = 512 if call.options.last("t") in _WITHOUT_HOST_CACHE else 1
    return Limits(request=alignment, memory=alignment)


def _file_info(call: Call, image: Image, name: str) -> _Json:
    limits = {"limits": _file_limits(call, image).described()} if "limits" in call.options else {}
    if call.store.is_remote(image.name):
        return {**limits, "children": [], "virtual-size": image.file.raw.size, "filename": name, "format": "nbd"}
    return {
        **limits,
        "children": [],
        "virtual-size": image.file_length,
        "filename": name,
        "format": "file",
        "actual-size": image.actual_size,
        "format-specific": {"type": "file", "data": {}},
        "dirty-flag": False,
    }


def _qcow2_info(image: Qcow2Image) -> _Json:
    if image.compat == "0.10":
        return {"compat": "0.10", "compression-type": image.compression, "refcount-bits": image.refcount_bits}
    data = image.data_file
    name: _Json = {"data-file": data.name} if data is not None and data.name is not None else {}
    raw: _Json = {} if data is None else {"data-file-raw": data.is_raw}
    bitmaps = [
        {
            "flags": [flag for flag, on in (("in-use", bitmap.in_use), ("auto", bitmap.auto)) if on],
            "name": bitmap.name,
            "granularity": bitmap.granularity,
        }
        for bitmap in image.bitmaps
    ]
    return {
        "compat": "1.1",
        "compression-type": image.compression,
        "lazy-refcounts": image.lazy_refcounts,
        **({"bitmaps": bitmaps} if bitmaps else {}),
        "refcount-bits": image.refcount_bits,
        **name,
        **raw,
        "corrupt": image.corrupt,
        "extended-l2": False,
    }


def format_specific(image: Qcow2Image) -> Iterator[str]:
    """What is special about a qcow2 image, as indented lines."""
    return tree(_qcow2_info(image), 1)


def _human_info(found: _Json, snapshots: str) -> str:
    size, actual = found["virtual-size"], _disk_size(found)
    assert isinstance(size, int)
    lines = [
        f"image: {found['filename']}",
        f"file format: {found['format']}",
        f"virtual size: {human_size(size)} ({size} bytes)",
        f"disk size: {actual}",
    ]
    if "cluster-size" in found:
        lines.append(f"cluster_size: {found['cluster-size']}")
    if found.get("dirty-flag"):
        lines.append("cleanly shut down: no")
    if "backing-filename" in found:
        backing, full = found["backing-filename"], found["full-backing-filename"]
        lines.append(f"backing file: {backing}" + (f" (actual path: {full})" if full != backing else ""))
        if "backing-filename-format" in found:
            lines.append(f"backing file format: {found['backing-filename-format']}")
    if "limits" in found:
        lines += ["Block limits:", *tree(found["limits"], 1)]
    if "snapshots" in found:
        lines += snapshots.splitlines()
    specific = found.get("format-specific")
    if isinstance(specific, dict):
        lines += ["Format specific information:", *tree(specific["data"], 1)]
    if found.get("children"):
        length = size if found["format"] == "raw" else _child(found)["virtual-size"]
        assert isinstance(length, int)
        lines += [
            "Child node '/file':",
            f"    filename: {found['filename']}",
            f"    protocol type: {_child(found)['format']}",
            f"    file length: {human_size(length)} ({length} bytes)",
            f"    disk size: {actual}",
        ]
        if "limits" in found:
            lines += ["    Block limits:", *tree(_child(found)["limits"], 2)]
    return "\n".join(lines) + "\n"


def _disk_size(found: _Json) -> str:
    actual = found.get("actual-size")
    return human_size(actual) if isinstance(actual, int) else "unavailable"


def _child(found: _Json) -> _Json:
    match found["children"]:
        case [{"info": dict(info)}]:
            return info
    raise AssertionError(found)


def tree(value: object, depth: int) -> Iterator[str]:
    """Nested objects and lists as indented lines (block/qapi.c, dump_qdict and dump_qlist, 10.0)."""
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = [(str(key).replace("-", " "), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(f"[{place}]", inner) for place, inner in enumerate(value)]
    for label, inner in items:
        if isinstance(inner, dict | list):
            yield f"{'    ' * depth}{label}:"
            yield from tree(inner, depth + 1)
        else:
            shown = str(inner).lower() if isinstance(inner, bool) else inner
            yield f"{'    ' * depth}{label}: {shown}"


def _pretty(value: object, indent: str = "") -> str:
    """JSON as QEMU prints it for people: an empty list or object takes two lines."""
    inner = indent + "    "
    if isinstance(value, dict):
        lines = [f"{inner}{_pretty(key)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + ("\n" if lines else "") + indent + "}"
    if isinstance(value, list):
        lines = [inner + _pretty(item, inner) for item in value]
        return "[\n" + ",\n".join(lines) + ("\n" if lines else "") + indent + "]"
    import json  # noqa: PLC0415 - for those who want it

    return json.dumps(value)


# -- check


def check(call: Call) -> int:
    """``qemu-img check``."""
    options = call.options
    options.only("q", "f", "output", "r", "U", "T", "image-opts")
    output, repair = output_format(call), options.last("r")
    if repair not in {None, "leaks", "all"}:
        raise ToolError(_unknown_repair(call, repair), usage=True)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    name = options.words[0]
    check_cache(call, "T", "source cache")
    image = open_image(call, name, options.last("f"), write=repair is not None)
    if not isinstance(image, Qcow2Image):
        _check_other(call, image, output, name)
        return 0
    found = _checked(image, leaks=repair is not None, errors=repair == "all")
    call.complain("".join(f"{line}\n" for line in found.lines))
    if found.gave_up:
        image.mark_clean()
        raise ToolError(f"Check failed: {os.strerror(errno.EIO)}")
    fixed, fixed_leaks = found.corruptions_fixed, found.leaks_fixed
    if fixed or fixed_leaks:
        if output != "json":
            call.say(
                "The following inconsistencies were found and repaired:\n\n"
                f"    {fixed_leaks} leaked clusters\n    {fixed} corruptions\n\n"
                "Double checking the fixed image now..."
            )
        image.repair(found)
        found = _checked(image)
        call.complain("".join(f"{line}\n" for line in found.lines))
        found.corruptions_fixed, found.leaks_fixed = fixed, fixed_leaks
    elif repair is not None and (image.corrupt or image.kept_header.dirty):
        image.repair(found)
    total = -(-image.size // image.cluster_size)
    if output == "json":
        call.print(_pretty(_check_info(found, name, total)) + "\n")
    else:
        _say_check(call, found, total)
    if found.errors:
        raise ToolError("Check failed")
    return 2 if found.corruptions else 3 if found.leaks else 0


def _check_other(call: Call, image: Image, output: str, name: str) -> None:
    """Check an image of another format than qcow2, which tells only whether it is damaged."""
    if image.format == "raw" or "r" in call.options:
        raise ToolError("This image format does not support checks", 63)
    from qbitsim.images.vmdk.check import find_damage  # noqa: PLC0415 - few files hold one
    from qbitsim.images.vmdk.image import VmdkImage  # noqa: PLC0415

    assert isinstance(image, VmdkImage)
    damage = find_damage(image)
    if damage is not None:
        call.complain(f"{damage}\n")
        raise ToolError(f"Check failed: {os.strerror(errno.EINVAL)}")
    if output == "json":
        call.print(_pretty({"check-errors": 0, "filename": name, "format": image.format}) + "\n")
    else:
        call.say("No errors were found on the image.")


def _checked(image: Qcow2Image, *, leaks: bool = False, errors: bool = False) -> CheckResult:
    """What the check finds; the file of an open image may be one that nobody could open again."""
    try:
        return check_file(image.file.bytes_read, leaks=leaks, errors=errors)
    except UnsupportedError:
        raise
    except QmpError:
        raise ToolError(f"Check failed: {os.strerror(errno.EIO)}") from None


def _unknown_repair(call: Call, repair: str) -> str:
    if not call.profile.qemu_img_commands_complain:
        return f"Unknown option value for -r (expecting 'leaks' or 'all'): {repair}"
    comma = "," if call.profile.qemu_img_texts_polished else ""
    return f"--repair (-r) expects 'leaks' or 'all'{comma} not '{repair}'"


def _check_info(found: CheckResult, name: str, total: int) -> _Json:
    """The members of ImageCheck in the order of QEMU's hash table."""
    members: list[tuple[str, object, bool]] = [
        ("image-end-offset", found.end, bool(found.end)),
        ("compressed-clusters", found.compressed, bool(found.compressed)),
        ("total-clusters", total, bool(total)),
        ("corruptions", found.corruptions, bool(found.corruptions)),
        ("corruptions-fixed", found.corruptions_fixed, bool(found.corruptions_fixed)),
        ("check-errors", found.errors, True),
        ("leaks", found.leaks, bool(found.leaks)),
        ("leaks-fixed", found.leaks_fixed, bool(found.leaks_fixed)),
        ("allocated-clusters", found.allocated, bool(found.allocated)),
        ("filename", name, True),
        ("format", "qcow2", True),
        ("fragmented-clusters", found.fragmented, bool(found.fragmented)),
    ]
    return {key: value for key, value, present in members if present}


def _say_check(call: Call, found: CheckResult, total: int) -> None:
    if not (found.corruptions or found.leaks or found.errors):
        call.say("No errors were found on the image.")
    if found.corruptions:
        call.say(
            f"\n{found.corruptions} errors were found on the image.\n"
            "Data may be corrupted, or further writes to the image may corrupt it."
        )
    if found.leaks:
        call.say(
            f"\n{found.leaks} leaked clusters were found on the image.\n"
            "This means waste of disk space, but no harm to data."
        )
    if found.errors:
        call.say(f"\n{found.errors} internal errors have occurred during the check.")
    if total and found.allocated:
        shares = (
            found.allocated * 100 / total,
            found.fragmented * 100 / found.allocated,
            found.compressed * 100 / found.allocated,
        )
        call.say(
            f"{found.allocated}/{total} = {shares[0]:.2f}% allocated, {shares[1]:.2f}% fragmented, "
            f"{shares[2]:.2f}% compressed clusters"
        )
    if found.end:
        call.say(f"Image end offset: {found.end}")
