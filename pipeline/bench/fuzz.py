"""``make fuzz``: test the readers with broken CSV files and zips.

Every case takes the files of a small good series, makes up to a few changes, and reads them. There
are two right results: the same recording as a simple second reader gives (`reference`), or one line
that names a file. If only the text was changed, both readers must also refuse the same files. A
case depends on the seed and its number only; ``case=N`` repeats one.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.data.kaggle_files import find_series
from pipeline.data.recording import Description
from pipeline.errors import DataError

CHANNELS, EVENTS = ["Fp1", "Cz", "O2"], ["HandStart", "LiftOff"]
NAME = "subj1_series1"
ABOUT = Description(tuple(CHANNELS), tuple(EVENTS), 500.0, 1e-7, "colin27_1005")
LONGEST_MESSAGE = 700

Random = np.random.Generator

CELLS = (
    "", "-", "+1", "++1", " 1", "1 ", "\t1", "1_0", "0x1F", "0xFFFFFFFF", "0b1", "0o7", "nan",
    "NaN", "inf", "-Infinity", "nan(1)", "1e39", "-1e39", "1e400", "1e", "e5", "1e5", "1e+2",
    "1E-2", "5.", ".5", ".", "-.5", "+.5", "1.5", "007", "-0", "32767", "32768", "-32768", "-32769",
    "2147483648", "9223372036854775808", "3.4028234663852886e38", "3.4028235677973366e38", "\u0661",
    "\uff11", "1\u00a0", '"1"', "1;0", "1d5", "1f", "true", "None", "1\r", "\r1", "\x00", "\x0b1",
    "\ufeff1", "0" * 400, "1" * 60, "0", "1", "2", "0.5", "1.0", "1.0000001", "99999", "123456",
    "-12345", "-",
)  # fmt: skip
PIECES = (
    b"\n", b"\r\n", b"\r", b"\r\r\n", b",", b",,", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"',
    b"'", b"\xc3", b"\n\n", b" ", b"\t", b"#", b"subj1_series1_0,1,2,3\n", b"id,Fp1,Cz,O2\n",
    b"\x1a", b"x" * 300, b"\x85", b"\xe2\x80\xa8",
)  # fmt: skip


# ---- the independent reader ----------------------------------------------------------------------


class Refused(Exception):
    """The second reader does not accept a file."""


def reference_table(text: bytes, names: list[str]) -> list[list[Decimal]]:
    """Read a CSV file by its rules, with exact decimal numbers.

    Raises
    ------
    Refused
        If the file breaks a rule.
    """
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    lines = text.split(b"\n")
    if len(lines) < 3 or lines.pop() != b"":
        raise Refused("no rows, or a last line without an end")
    rows = []
    for number, line in enumerate(lines):
        if line.endswith(b"\r"):
            line = line[:-1]
        cells = line.split(b",")
        if number == 0:
            if cells != [name.encode() for name in ["id", *names]]:
                raise Refused("header")
            continue
        if len(cells) != len(names) + 1 or cells[0] != f"{NAME}_{number - 1}".encode():
            raise Refused("cells or id")
        rows.append([reference_number(cell.decode("latin-1")) for cell in cells[1:]])
    return rows


def reference_number(cell: str) -> Decimal:
    """Read a plain decimal number exactly.

    Raises
    ------
    Refused
        If it is not such a number, or single precision rounds it to infinity.
    """
    mantissa, e, exponent = cell.replace("E", "e").partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    sign = exponent[:1] if exponent[:1] in "+-" else ""
    power = exponent[len(sign) :]
    digits = set("0123456789")
    if not (whole + fraction) or set(whole + fraction + power) - digits or bool(e) != bool(power):
        raise Refused(f"not a number: {cell[:40]!r}")
    try:
        value = Decimal(cell)
    except InvalidOperation as error:  # an exponent that Decimal cannot hold
        if not set(whole + fraction) - {"0"} or sign == "-":
            return Decimal(0)
        raise Refused(f"too large: {cell[:40]!r}") from error
    if abs(float(value)) >= 2.0**128 - 2.0**103:
        raise Refused("beyond single precision")
    return value


def reference_unzip(path: Path) -> dict[str, bytes]:
    """Unpack a zip as the description of the format says, from its list of members.

    Raises
    ------
    Refused
        If it is damaged, or uses more than the format's basic features.
    """
    blob = path.read_bytes()
    end = blob.rfind(b"PK\x05\x06")
    try:
        size, start = struct.unpack_from("<LL", blob, end + 12)
        at = end - size
        shift = at - start  # bytes before the zip's beginning
        found = {}
        while at < end:
            head = struct.unpack_from("<4s6H3L5H2L", blob, at)
            name = blob[at + 46 : min(at + 46 + head[10], end)]
            offset = head[16] + shift
            method, crc, packed, whole = head[4], head[7], head[8], head[9]
            local = struct.unpack_from("<4s5H3L2H", blob, offset)
            begin = offset + 30 + local[9] + local[10]
            content = blob[begin : begin + packed]
            if method == 8:
                content = zlib.decompressobj(-15).decompress(content, whole + 1)
            text = name.decode("utf-8" if head[3] & 0x800 else "cp437").split("\0")[0]
            if zlib.crc32(content) == crc and len(content) == whole and method in (0, 8):
                found[text] = content
            at += 46 + head[10] + head[11] + head[12]
    except (struct.error, UnicodeDecodeError, zlib.error) as error:
        raise Refused(str(error)) from error
    return found


def reference(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the series below a folder, without any code of the real readers.

    Returns
    -------
    signal : ndarray of float32, shape (T, 3)
        The samples.
    events : ndarray of uint8, shape (T, 2)
        The labels.

    Raises
    ------
    Refused
        If the files do not hold a series.
    """
    texts: dict[str, bytes] = {}
    for place, _, files in os.walk(folder, followlinks=True):
        for name in files:
            path = Path(place, name)
            there = reference_unzip(path) if name.endswith(".zip") else {name: path.read_bytes()}
            for member, text in there.items():
                base = member.replace("\\", "/").split("/")[-1]
                if base.endswith(".gz"):
                    try:
                        base, text = base[:-3], gzip.decompress(text)
                    except (OSError, EOFError, zlib.error) as error:
                        raise Refused(str(error)) from error
                if re.fullmatch(f"{NAME}_(data|events).csv", base):
                    if base in texts:
                        raise Refused("twice")
                    texts[base] = text
    try:
        data, marks = texts[f"{NAME}_data.csv"], texts[f"{NAME}_events.csv"]
    except KeyError as error:
        raise Refused("missing") from error
    samples, labels = reference_table(data, CHANNELS), reference_table(marks, EVENTS)
    if len(samples) != len(labels) or any(x not in (0, 1) for row in labels for x in row):
        raise Refused("labels")
    signal = np.array([[float(x) for x in row] for row in samples]).astype(np.float32)
    return signal, np.array(labels).astype(np.uint8)


# ---- the cases -----------------------------------------------------------------------------------


def good_texts(random: Random) -> dict[str, bytes]:
    """Make the two CSV files of a small series."""
    rows = int(random.integers(1, 40))
    end = b"\r\n" if random.random() < 0.2 else b"\n"
    signal = random.integers(-9000, 24000, (rows, 3)).astype(object)
    if random.random() < 0.3:
        signal = random.normal(0, 10.0 ** random.integers(-6, 7), (rows, 3)).astype(object)
    labels = random.integers(0, 2, (rows, 2))
    texts = {}
    for kind, names, values in (("data", CHANNELS, signal), ("events", EVENTS, labels)):
        lines = [",".join(["id", *names])]
        lines += [f"{NAME}_{i}," + ",".join(map(str, row)) for i, row in enumerate(values)]
        text = b"".join(line.encode() + end for line in lines)
        texts[f"{NAME}_{kind}.csv"] = (b"\xef\xbb\xbf" if random.random() < 0.1 else b"") + text
    return texts


def _pick(random: Random, of: tuple | list):
    return of[int(random.integers(len(of)))]


def change_text(random: Random, text: bytes) -> bytes:
    """Change a CSV file in one place."""
    lines = text.splitlines(keepends=True) or [b""]
    at = int(random.integers(len(lines)))
    spot, other = sorted(int(x) for x in random.integers(0, len(text) + 1, 2))
    kind = int(random.integers(12))
    if kind <= 3:  # a cell
        cells = lines[at].rstrip(b"\r\n").split(b",")
        ending = lines[at][len(lines[at].rstrip(b"\r\n")) :]
        cells[int(random.integers(len(cells)))] = _pick(random, CELLS).encode()
        lines[at] = b",".join(cells) + ending
    elif kind == 4:  # lines in another order
        where = int(random.integers(len(lines)))
        lines[at], lines[where] = lines[where], lines[at]
    elif kind == 5:  # a line that is lost or doubled
        lines[at : at + 1] = [lines[at]] * _pick(random, (0, 2))
    elif kind == 6:  # cells in another order, lost or doubled
        cells = lines[at].split(b",")
        where = int(random.integers(len(cells)))
        cells[where : where + 1] = [cells[where]] * _pick(random, (0, 2))
        lines[at] = b",".join(cells)
    elif kind == 7:
        return text[:spot] + _pick(random, PIECES) + text[spot:]
    elif kind == 8:
        return text[:spot] + random.bytes(int(random.integers(1, 5))) + text[spot + 1 :]
    elif kind == 9:
        return text[:spot] + text[min(other, spot + int(random.integers(1, 30))) :]
    elif kind == 10:
        return text[:spot] if random.random() < 0.8 else b"\x00" * spot
    else:
        return text[:spot] + text[spot:other][:200] + text[spot:]
    return b"".join(lines)


def change_zip(random: Random, blob: bytes) -> bytes:
    """Change a zip in one place, mostly in the headers of its members."""
    spots = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", blob)]
    changed = bytearray(blob)
    kind = int(random.integers(8))
    if kind <= 4 and spots:
        spot = _pick(random, spots)
        # flags, method and version are 16 bits each; sizes and offsets follow
        at = spot + int(random.integers(4, 46))
        value = _pick(
            random, (b"\x01", b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x09", b"\x63", b"\x7f")
        )
        if random.random() < 0.3:
            value = random.bytes(1)
        changed[at : at + len(value)] = value
        return bytes(changed[: len(blob)])
    at = int(random.integers(len(blob) + 1))
    if kind == 5:
        return blob[:at]
    if kind == 6:
        changed[at : at + 1] = random.bytes(1)
        return bytes(changed)
    return blob[:at] + random.bytes(int(random.integers(1, 40))) + blob[at:]


def make_case(random: Random, folder: Path) -> bool:
    """Write the files of one case; tell whether only the text was changed."""
    texts = good_texts(random)
    for _ in range(int(random.integers(0, 3))):
        base = _pick(random, list(texts))
        texts[base] = change_text(random, texts[base])
    packing, damage = int(random.integers(5)), random.random() < 0.5
    if packing <= 1:
        for base, text in texts.items():
            (folder / base).write_bytes(text)
        return True
    if packing == 2:
        for base, text in texts.items():
            blob = gzip.compress(text, mtime=0)
            if damage and random.random() < 0.5:
                blob = change_text(random, blob)
            (folder / f"{base}.gz").write_bytes(blob)
        return not damage
    buffer = io.BytesIO()
    method = _pick(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED))
    if damage and random.random() < 0.1:
        method = _pick(random, (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for base, text in texts.items():
            info = zipfile.ZipInfo(_pick(random, ("", "train/", "a\\", "\u00e9/")) + base)
            archive.writestr(info, text, method)
    blob = buffer.getvalue()
    for _ in range(int(random.integers(1, 4)) if damage else 0):
        blob = change_zip(random, blob)
    (folder / "train.zip").write_bytes(blob)
    return not damage


@dataclass
class Outcome:
    """How the cases ended.

    Parameters
    ----------
    read, refused : int
        How many ended with a recording, and how many with one line.
    kinds : Counter
        How often each kind of line was printed.
    faults : list of str
        The cases that ended wrongly.
    """

    read: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def _kind(message: str, folder: Path) -> str:
    """Give the kind of a message: the message without names, numbers and quoted parts."""
    message = message.replace(str(folder), "")
    message = re.sub(r"'.*'", "'...'", message.partition(": ")[2])
    return re.sub(r"(-?[0-9][0-9.e,+]*|nan|inf)", "#", message.split(";")[0])[:70]


def try_case(seed: int, case: int, folder: Path, outcome: Outcome) -> None:
    """Run one case in an empty folder, and note how it ended."""
    random = np.random.default_rng([seed, case])
    raw = folder / "raw"
    raw.mkdir()
    text_only = make_case(random, raw)
    message = ""
    try:
        for series in find_series(raw, [], [1], []):
            recording = series.read(ABOUT)
        assert recording.events is not None
        signal, events = recording.signal.astype(np.float32), recording.events
    except DataError as error:
        message = str(error)
        if not message.isprintable() or len(message) > LONGEST_MESSAGE:
            outcome.faults.append(f"case {case}: not one short line: {message[:200]!r}")
        if "raw" not in message:
            outcome.faults.append(f"case {case}: names no file: {message}")
    except Exception as error:
        outcome.faults.append(f"case {case}: {type(error).__name__}: {str(error)[:200]}")
        return
    try:
        expected = reference(raw)
    except Refused as refusal:
        if not message:
            outcome.faults.append(f"case {case}: was read; the reference refuses: {refusal}")
        expected = None
    if message:
        outcome.refused += 1
        outcome.kinds[_kind(message, folder)] += 1
        if expected is not None and text_only:
            outcome.faults.append(f"case {case}: the reference reads what is refused: {message}")
        return
    outcome.read += 1
    if expected is not None and not (
        np.array_equal(signal, expected[0]) and np.array_equal(events, expected[1])
    ):
        outcome.faults.append(f"case {case}: another recording than the reference's")


def fuzz(cases: range, seed: int, show: Callable[[range], object] = lambda cases: cases) -> Outcome:
    """Run many cases.

    Parameters
    ----------
    cases : range
        Numbers of the cases.
    seed : int
        The seed of all of them.
    show : callable
        Wraps the numbers to show progress.

    Returns
    -------
    Outcome
        Counts and faults.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        for case in show(cases):  # type: ignore[attr-defined]
            folder = Path(base, str(case))
            folder.mkdir()
            try_case(seed, case, folder, outcome)
            shutil.rmtree(folder)
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line: ``cases=10000 seed=0``, or ``case=N`` to repeat one.

    Returns
    -------
    int
        0 if every case ended rightly, else 1.
    """
    options = {"cases": 10_000, "seed": 0, "case": -1}
    for argument in sys.argv[1:] if arguments is None else arguments:
        key, _, value = argument.partition("=")
        if key not in options or not value.isdecimal():
            print(f"error: {argument}: give cases=N, seed=N or case=N", file=sys.stderr)
            return 2
        options[key] = int(value)
    one = options["case"]
    cases = range(one, one + 1) if one >= 0 else range(options["cases"])
    layout = "{desc} {percentage:3.0f}%|{bar:24}| {n}/{total} {elapsed}<{remaining}"
    outcome = fuzz(
        cases, options["seed"],
        lambda numbers: tqdm(numbers, desc="fuzz", bar_format=layout, mininterval=0.5, leave=False),
    )  # fmt: skip
    print(
        f"{len(cases)} cases (seed {options['seed']}): {outcome.read} read, "
        f"{outcome.refused} refused in one line, {len(outcome.faults)} wrongly"
    )
    for kind, count in outcome.kinds.most_common(25 if one < 0 else 1):
        print(f"{count:7d}  {kind}")
    for fault in outcome.faults[:20]:
        print(f"WRONG: {fault} (repeat: make fuzz ARGS='case=N seed={options['seed']}')")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
