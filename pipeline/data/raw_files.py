"""Raw files on disk: plain, gzipped or inside a zip. They are found, opened and read within bounds.

Nothing here knows what a series is. Whatever a file claims or contains, memory stays bounded, a
message quotes only a few characters of it, and every fault is a `DataError` of one line.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pipeline.errors import DataError

MOST_SERIES_BYTES = 256 << 20
"""Most bytes of one CSV file of a series, unpacked.

The longest real series has some 260,000 rows of 33 cells, 45 MB; with 17 digits in every cell it
would be 180 MB.
"""

MOST_SUBMISSION_BYTES = 1 << 30
"""Most bytes of a submission, unpacked: 3,144,171 rows of 7 cells are at most some 450 MB."""

MOST_DIRECTORY_BYTES = 16 << 20
"""Most bytes of a zip's list of members; Kaggle's largest zip lists 192 files in 20 kB."""

_FIRST = 1 << 16
"""How much of a file is read before its header line is checked."""
_BLOCK = 1 << 20

_END_OF_ZIP, _END_OF_ZIP64 = b"PK\x05\x06", b"PK\x06\x06"

# What zipfile raises on zips that are damaged or that it does not know, beside BadZipFile.
_BAD_ZIP = (
    zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, EOFError,
    struct.error, OverflowError, IndexError, KeyError, RuntimeError, zlib.error,
)  # fmt: skip


def excerpt(content: bytes | str, most: int = 60) -> str:
    """Quote a file's content in a message: on one line, and only its beginning if it is long.

    Parameters
    ----------
    content : bytes or str
        What stands in the file; bytes are shown as UTF-8.
    most : int
        How many characters are shown at most, escapes included.

    Returns
    -------
    str
        E.g. ``'12a'``, or ``'aaaa'... (30,000,000 characters)``.
    """
    start = content[: 4 * most]
    text = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
    shown = repr(text)[1:-1]
    if len(shown) <= most and len(start) == len(content):
        return f"'{shown}'"
    kind = "bytes" if isinstance(content, bytes) else "characters"
    return f"'{shown[:most]}'... ({len(content):,} {kind})"


def printable(name: str, most: int = 200) -> str:
    """Show a file's name on one line; the middle of a very long one is left out."""
    # Names that are not UTF-8 come from the system with lone surrogates, which nothing can print.
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    if not name.isprintable():
        name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    return name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"


class _Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class RawFile:
    """A CSV file, on its own or inside a zip.

    Parameters
    ----------
    path : Path
        The file, or the zip that holds it.
    member : str, optional
        Its name inside the zip.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        where = printable(str(self.path))
        return f"{where}:{printable(self.member)}" if self.member is not None else where

    @property
    def base(self) -> str:
        """The file's own name."""
        return (self.member or str(self.path)).replace("\\", "/").rsplit("/", 1)[-1]

    def read(self, most: int, check: Callable[[bytes], None] = lambda start: None) -> bytes:
        """Read the whole file, unpacked, without a byte-order mark.

        Parameters
        ----------
        most : int
            The file is refused if it has, or unpacks to, more bytes than this. It is never
            unpacked further than that.
        check : callable
            Called with the file's first bytes (at most 64 KiB) before the rest is read.

        Returns
        -------
        bytes
            The content.

        Raises
        ------
        DataError
            When the file cannot be read or unpacked, is too large, or changes while it is read.
        """
        with self._naming_faults(), open(self.path, "rb") as file:
            before = os.fstat(file.fileno())
            packed = self.base.endswith(".gz")
            if self.member is None and not packed:
                if before.st_size > most:
                    raise self._too_large(most)
                check(file.read(_FIRST).removeprefix(b"\xef\xbb\xbf"))
                file.seek(0)
                blob = file.read(before.st_size + 1)
            else:
                with self._unpacked(file, most) as stream:
                    blob = self._bounded(stream, most, check)
            after = os.fstat(file.fileno())
            grown = self.member is None and not packed and len(blob) != before.st_size
        if grown or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise DataError(f"{self}: changed while it was read; run again when it is complete")
        return blob.removeprefix(b"\xef\xbb\xbf")

    @contextmanager
    def _unpacked(self, file: IO[bytes], most: int) -> Iterator[_Readable]:
        """Open the stream of unpacked bytes."""
        if self.member is None:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream
            return
        with open_zip(self.path, file) as archive:
            info = archive.getinfo(self.member)
            check_member(self, info, most)
            with archive.open(info) as stream:
                if self.base.endswith(".gz"):
                    with gzip.GzipFile(fileobj=stream) as inner:
                        yield inner
                else:
                    yield stream
                # zipfile compares checksums, but not lengths
                if stream.read(1) or stream.tell() != info.file_size:
                    raise zipfile.BadZipFile("its length is not what the zip says")

    def _bounded(self, stream: _Readable, most: int, check: Callable[[bytes], None]) -> bytes:
        """Read a stream block by block, and refuse it as soon as it is too long."""
        content = io.BytesIO()
        block = stream.read(_FIRST)
        check(block.removeprefix(b"\xef\xbb\xbf"))
        while block:
            content.write(block)
            if content.tell() > most:
                raise self._too_large(most)
            block = stream.read(_BLOCK)
        return content.getvalue()

    def _too_large(self, most: int) -> DataError:
        return DataError(
            f"{self}: has more than {most >> 20} MiB, far more than such a file can have; "
            "replace it by the right file"
        )

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        """Turn what reading and unpacking raise into one line that names the file."""
        try:
            yield
        except DataError:
            raise
        except OSError as error:
            # gzip.BadGzipFile is one of these, without a number
            raise unreadable(str(self), error) from error
        except _BAD_ZIP as error:
            raise DataError(f"{self}: is corrupt ({_reason(error)}); download it again") from error


def _reason(error: BaseException) -> str:
    """Give an exception's own words, on one line and not too many."""
    return printable(str(error) or type(error).__name__, 120)


def unreadable(name: str, error: OSError) -> DataError:
    """Say that a file or folder cannot be read, and why.

    Parameters
    ----------
    name : str
        The file, as messages name it.
    error : OSError
        What the system said.
    """
    if error.errno is None:
        return DataError(f"{name}: is corrupt ({_reason(error)}); download it again")
    remedy = "; make it readable" if isinstance(error, PermissionError) else ""
    return DataError(f"{name}: cannot be read: {error.strerror or _reason(error)}{remedy}")


def check_member(file: RawFile, info: zipfile.ZipInfo, most: int) -> None:
    """Refuse a member of a zip that cannot or must not be unpacked.

    Parameters
    ----------
    file : RawFile
        The member, for the message.
    info : ZipInfo
        What the zip says of it.
    most : int
        Most bytes that it may unpack to.

    Raises
    ------
    DataError
        When it is encrypted, packed by another method than "stored" or "deflated", or too large.
    """
    if info.flag_bits & 0x41:  # encrypted, or encrypted strongly
        raise DataError(f"{file}: is encrypted; unpack the zip with its password, and remove it")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or (
        info.flag_bits & 0x20  # patched data
    ):
        name = zipfile.compressor_names.get(info.compress_type, "unknown")  # type: ignore[attr-defined]
        raise DataError(
            f"{file}: is packed by method {info.compress_type} ({name}), which is not read here; "
            "unpack the zip with the program that made it, and remove it"
        )
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise DataError(
            f"{file}: is corrupt (its length is given twice, not as one number); "
            "download the zip again"
        )
    if info.file_size > most:
        raise DataError(
            f"{file}: claims to unpack to {info.file_size:,} bytes, far more than such a file can "
            f"have ({most >> 20} MiB); download the zip again"
        )


def _directory_bytes(file: IO[bytes]) -> int:
    """Read how long a zip's list of members says that it is; zipfile would read all of it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22 - 76))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END_OF_ZIP)
    if at < 0 or len(tail) < at + 16:
        return 0  # zipfile says what is wrong
    claimed: int = struct.unpack_from("<L", tail, at + 12)[0]
    at = tail.rfind(_END_OF_ZIP64)
    if claimed == 0xFFFFFFFF and at >= 0 and len(tail) >= at + 48:
        claimed = struct.unpack_from("<Q", tail, at + 40)[0]
    return claimed


def open_zip(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip.

    Parameters
    ----------
    path : Path
        Its name, for messages.
    file : binary file
        Its content.

    Returns
    -------
    ZipFile
        With its list of members read.

    Raises
    ------
    DataError
        When it is damaged, of a version that is not known here, lists far too many members, or
        has members whose names are not text.
    """
    name = printable(str(path))
    try:
        if _directory_bytes(file) > MOST_DIRECTORY_BYTES:
            raise DataError(
                f"{name}: its list of members has more than {MOST_DIRECTORY_BYTES >> 20} MiB; "
                "download it again"
            )
        return zipfile.ZipFile(file)
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(
            f"{name}: is a zip of a kind that is not read here ({_reason(error)}); unpack it with "
            "the program that made it, and remove it"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: holds a member whose name is not UTF-8, as it claims; unpack it with the "
            "program that made it, and remove it"
        ) from error
    except OSError as error:
        raise unreadable(name, error) from error
    except _BAD_ZIP as error:
        raise DataError(
            f"{name}: is a corrupt zip ({_reason(error)}); download it again"
        ) from error


def files_below(folder: Path) -> list[Path]:
    """List all that lies below a folder and is no folder, in order.

    Links to folders are followed. Each folder is read once, however many links lead to it, so a
    link to a folder above it does no harm. What begins with a dot is left out.

    Raises
    ------
    DataError
        When a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise unreadable(printable(str(error.filename)), error)

    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        keep = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                keep.append(name)
        folders[:] = keep
        found += [Path(place, name) for name in files if not name.startswith(".")]
        # A folder that has a file's name is listed too: whoever wants that file must be told.
        found += [Path(place, name) for name in keep if name.endswith((".csv", ".gz", ".zip"))]
    return sorted(found)


def raw_files(folder: Path, wanted: re.Pattern[str], most: int) -> list[RawFile]:
    """List the files of certain names below a folder and inside the zips that lie there.

    Parameters
    ----------
    folder : Path
        Where to look.
    wanted : re.Pattern
        What the files' own names must match.
    most : int
        Most bytes that such a file may have.

    Returns
    -------
    list of RawFile
        In the order of their paths. Each could be opened; its content was not read.

    Raises
    ------
    DataError
        When a file or a zip cannot be read here, with what to do.
    """
    found: list[RawFile] = []
    for path in files_below(folder):
        file = RawFile(path)
        is_zip = path.suffix == ".zip" and not path.is_dir()
        if not is_zip and not wanted.fullmatch(path.name):
            continue
        if path.is_symlink() and not path.exists():
            raise DataError(f"{file}: is a link to {os.readlink(path)!r}, which is not there")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise DataError(f"{file}: is {kind}; put the file in its place")
        try:
            with open(path, "rb") as content:
                if is_zip:
                    found += _members(path, content, wanted, most)
                else:
                    found.append(file)
        except OSError as error:
            raise unreadable(str(file), error) from error
    return found


def _members(
    path: Path, content: IO[bytes], wanted: re.Pattern[str], most: int
) -> Iterator[RawFile]:
    """List the files of certain names inside a zip."""
    with open_zip(path, content) as archive:
        infos = [info for info in archive.infolist() if "__MACOSX" not in info.filename]
    nested = [info.filename for info in infos if info.filename.endswith(".zip")]
    if nested:
        raise DataError(
            f"{printable(str(path))}: holds further zips ({printable(nested[0])}); unpack it once: "
            f"unzip {printable(path.name)} -d {printable(str(path.parent))}"
        )
    for info in infos:
        file = RawFile(path, info.filename)
        if wanted.fullmatch(file.base):
            check_member(file, info, most)
            yield file
