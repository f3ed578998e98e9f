"""``python -m pipeline.data.download FOLDER``: fetch the competition's files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

COMPETITION = "grasp-and-lift-eeg-detection"
HELP = f"""To get the data:
  1. make a Kaggle account and accept the rules at https://www.kaggle.com/c/{COMPETITION}/rules
  2. make an API token (Kaggle: Settings, API) and put it where the kaggle package looks for it:
     ~/.kaggle/access_token (or an older kaggle.json there)
  3. make data
Or download the files in a browser, from https://www.kaggle.com/c/{COMPETITION}/data,
and put train.zip, test.zip and sample_submission.csv.zip, as they are, into {{folder}}"""


def unpack_outer(archive: Path, folder: Path) -> None:
    """Take Kaggle's zips out of the one zip that all files come in; those stay packed."""
    with zipfile.ZipFile(archive) as outer:
        outer.extractall(folder)
    archive.unlink()


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
    if any(folder.rglob("*_data.csv*")) or any(folder.glob("*.zip")):
        print(f"{folder} holds the data already; remove it to download again")
        return 0
    # The package's own program: importing it exits the process where there are no credentials.
    program = shutil.which("kaggle", path=sysconfig.get_path("scripts"))
    if program is None:
        print("error: the kaggle package is not installed; run `make data`", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program, "competitions", "download", "-c", COMPETITION, "-p", str(folder)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    archive = folder / f"{COMPETITION}.zip"
    if done.returncode or not archive.exists():
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        # Its first line names the trouble; hints follow, and ours are more to the point.
        reason = next((line for line in said if line), f"exit status {done.returncode}")
        print(f"error: the download failed: {reason}", file=sys.stderr)
        print(HELP.format(folder=folder), file=sys.stderr)
        return 2
    unpack_outer(archive, folder)
    print(f"downloaded to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
