"""Which paths may be opened: plain image files and addresses, and nothing that leads on to other files.

GDAL takes more than files for an image: virtual rasters and lists of files, whose content names what is really read,
and strings that select a driver. What a stranger's file names must not be read because the file was opened.
"""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import urlsplit

from terrascope.errors import SceneError

FORMATS = {
    "GTiff": "GeoTIFF",
    "JP2OpenJPEG": "JPEG 2000",
    "PNG": "PNG",
    "JPEG": "JPEG",
    "WEBP": "WebP",
    "ENVI": "ENVI",
}
"""GDAL's drivers that are used: their files hold their pixels themselves."""

_SWITCH = "give --allow-virtual (allow_virtual=True) if you trust it"

_VIRTUAL_HEADS = (b"<VRTDataset", b"<WCS_GDAL", b"<GDAL_WMS", b"<GDAL_WMTS", b"<GDALTileIndex", b"<OGRVRTDataSource")

_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MAX_METADATA_BYTES = 2**24


def is_remote(path: str) -> bool:
    """True for an address: `http://` or `https://`."""
    return path.lower().startswith(("http://", "https://"))


def absolute_path(path: str) -> str:
    """What means the same file from any folder; addresses and GDAL's virtual paths do as they are."""
    return os.path.abspath(path) if os.path.exists(path) else path


def check_path(path: str, *, allow_virtual: bool) -> str:
    """The name under which GDAL opens a path.

    Raises:
        SceneError: no plain file or address, or files beside it that lead elsewhere, unless virtual files are allowed.
    """
    if is_remote(path):
        return _checked_address(path)
    if allow_virtual and not os.path.exists(path):
        return path
    _check_is_file(path)
    if not allow_virtual:
        _check_is_not_virtual(path)
        _check_beside(path)
    # An absolute path cannot be taken for one of the strings that GDAL reads as something else than a file.
    return os.path.abspath(path)


def _checked_address(path: str) -> str:
    try:
        parts = urlsplit(path)
        _ = parts.port
    except ValueError:
        raise SceneError(f"{path}: is no address; write it as https://host/image.tif") from None
    if not parts.hostname or any(character.isspace() or not character.isprintable() for character in path):
        raise SceneError(f"{path!r}: is no address; write it as https://host/image.tif")
    return "/vsicurl/" + path


def _check_is_file(path: str) -> None:
    if path.startswith("/vsi"):
        raise SceneError(f"{path}: is one of GDAL's virtual paths, which can lead anywhere; {_SWITCH}")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path)
    if scheme is not None:
        raise SceneError(
            f"{path}: addresses of the kind {scheme[0]} are not opened; give a file or https://host/image.tif"
        )
    try:
        os.fsencode(path)
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if path.lstrip().startswith("<") or re.match(r"[A-Za-z0-9_]+:", path):
            raise SceneError(f"{path[:80]}: is no file but a description of one for GDAL; {_SWITCH}") from None
        raise SceneError(f"{path}: no such file; give the path of a GeoTIFF, PNG or JPEG") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SceneError(f"{path!r}: cannot be opened ({reason}); give the path of an image file") from None
    if stat.S_ISDIR(mode):
        raise SceneError(f"{path}: is a folder; in a list of files each must be an image file")
    if not stat.S_ISREG(mode):
        raise SceneError(f"{path}: is no plain file but a pipe, socket or device; give the path of an image file")


def _check_is_not_virtual(path: str) -> None:
    head = _head(path).lstrip()
    if head.startswith(_VIRTUAL_HEADS):
        raise SceneError(f"{path}: is a virtual raster, whose pixels lie in other files or on a server; {_SWITCH}")


def _check_beside(path: str) -> None:
    """The files that GDAL may read beside an image: its mask and overviews, its metadata, its world file."""
    folder, name = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(name)[0]
    homes = {os.path.realpath(folder), os.path.dirname(os.path.realpath(path))}
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name != name and entry.name.startswith(stem + ".")]
    except OSError as error:
        raise SceneError(f"{path}: its folder cannot be read ({error.strerror})") from None
    for entry in entries:
        try:
            mode = entry.stat().st_mode
        except OSError:  # a link to nothing, which GDAL cannot open either
            continue
        if stat.S_ISDIR(mode):
            continue
        what = f"{entry.path}, which lies beside the image {path} and belongs to it,"
        if not stat.S_ISREG(mode):
            raise SceneError(f"{what} is no plain file; remove it")
        if not entry.name.startswith(name + "."):
            continue
        if os.path.dirname(os.path.realpath(entry.path)) not in homes:
            raise SceneError(f"{what} is a link into another folder; remove it, or {_SWITCH}")
        if entry.name.endswith((".msk", ".ovr")) and not _head(entry.path).startswith(_TIFF_HEADS):
            raise SceneError(f"{what} is no TIFF; remove it, or {_SWITCH}")
        if entry.name.endswith(".aux.xml"):
            _check_metadata(entry.path, what)


def _check_metadata(path: str, what: str) -> None:
    """GDAL's metadata may name a file of overviews, which GDAL would open whatever it is."""
    if os.path.getsize(path) > _MAX_METADATA_BYTES:
        raise SceneError(f"{what} is larger than {_MAX_METADATA_BYTES:,} bytes; remove it, or {_SWITCH}")
    with open(path, "rb") as file:
        content = file.read()
    if re.search(rb"OVERVIEW_FILE|SourceFilename|/vsi", content, flags=re.IGNORECASE) is not None:
        raise SceneError(f"{what} names other files; remove it, or {_SWITCH}")


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1024)
    except OSError as error:
        raise SceneError(f"{path}: cannot be opened ({error.strerror})") from None
