"""``python -m pipeline.data.download FOLDER``: fetch the competition's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from pathlib import Path

from pipeline.data.raw_files import RawFile, check_member, files_below, open_zip, printable
from pipeline.errors import DataError

COMPETITION = "grasp-and-lift-eeg-detection"
MOST_DOWNLOAD_BYTES = 8 << 30
"""Most bytes of a file in the download: everything, unpacked, is about 4 GB."""

HELP = f"""To get the data:
  1. make a Kaggle account and accept the rules at https://www.kaggle.com/c/{COMPETITION}/rules
  2. make an API token (Kaggle: Settings, API) and put it where the kaggle package looks for it:
     ~/.kaggle/access_token (or an older kaggle.json there)
  3. make data
Or download the files in a browser, from https://www.kaggle.com/c/{COMPETITION}/data,
and put train.zip, test.zip and sample_submission.csv.zip, as they are, into {{folder}}"""


def unpack_outer(archive: Path, folder: Path) -> None:
    """Take Kaggle's zips out of the one zip that all files come in; those stay packed.

    Either all of them appear in the folder or none does.

    Parameters
    ----------
    archive : Path
        The one zip; it is removed at the end.
    folder : Path
        Where its members go.

    Raises
    ------
    DataError
        When the zip is corrupt or cannot be written out.
    """
    hidden = folder / f".unpacking-{os.getpid()}"
    try:
        with open(archive, "rb") as file, open_zip(archive, file) as outer:
            for info in outer.infolist():
                check_member(RawFile(archive, info.filename), info, MOST_DOWNLOAD_BYTES)
            outer.extractall(hidden)  # never leaves the folder, whatever the members' names are
        for path in sorted(hidden.iterdir()):
            os.replace(path, folder / path.name)
        archive.unlink()
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{archive}: is corrupt ({error}); remove it and download it again"
        ) from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked: {error.strerror or error}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def holds_data(folder: Path) -> bool:
    """Tell whether data or zips lie in or below a folder, links to folders included."""
    return folder.is_dir() and any(
        path.suffix == ".zip" or re.search(r"_data\.csv(\.gz)?$", path.name)
        for path in files_below(folder)
    )


def main(arguments: list[str] | None = None) -> int:
    """Download into a folder; say exactly what to do when that is impossible.

    Parameters
    ----------
    arguments : list of str, optional
        The folder.

    Returns
    -------
    int
        The exit status: 0 when the files are there.
    """
    folder = Path((arguments or sys.argv[1:] or ["data/raw"])[0])
    try:
        return _download(folder)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _download(folder: Path) -> int:
    """Download into a folder, unless the data is there."""
    if holds_data(folder):
        print(f"{folder} holds the data already; remove it to download again")
        return 0
    # The package's own program: importing it exits the process where there are no credentials.
    program = shutil.which("kaggle", path=sysconfig.get_path("scripts"))
    if program is None:
        print("error: the kaggle package is not installed; run `make data`", file=sys.stderr)
        return 2
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror}") from error
    done = subprocess.run(
        [program, "competitions", "download", "-c", COMPETITION, "-p", str(folder)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    archive = folder / f"{COMPETITION}.zip"
    if done.returncode or not archive.exists():
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        # Its first line names the trouble; hints follow, and ours are more to the point.
        reason = next((line for line in said if line), f"exit status {done.returncode}")
        print(f"error: the download failed: {printable(reason)}", file=sys.stderr)
        print(HELP.format(folder=folder), file=sys.stderr)
        return 2
    unpack_outer(archive, folder)
    print(f"downloaded to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
