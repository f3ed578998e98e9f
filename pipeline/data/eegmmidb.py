"""PhysioNet's EEG Motor Movement/Imagery recordings: where to get them, and whether they are whole.

``python -m pipeline.data.eegmmidb FOLDER``
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from pipeline.errors import DataError

PAGE = "https://physionet.org/content/eegmmidb/1.0.0/"
SUMS = "SHA256SUMS.txt"  # PhysioNet's own list, which comes with the recordings
HELP = f"""{{folder}}: holds no recordings yet. They are at {PAGE} (Schalk et al. 2004,
doi 10.1109/TBME.2004.827072; Goldberger et al. 2000), under the Open Data Commons Attribution
License 1.0. One subject, with the list of checksums:
  wget -r -N -c -np -nH --cut-dirs=3 -P {{folder}} {PAGE.replace("content", "files")}S001/
  wget -P {{folder}} {PAGE.replace("content", "files")}{SUMS}
Then run `make data DATASET=eegmmidb` again: it compares the checksums."""


def verify(folder: Path) -> int:
    """Compare every recording below a folder with PhysioNet's list of checksums.

    Parameters
    ----------
    folder : Path
        With the recordings and ``SHA256SUMS.txt``.

    Returns
    -------
    int
        How many recordings are as they should be.

    Raises
    ------
    DataError
        Naming what is missing, unknown or different.
    """
    found = sorted(folder.rglob("S*.edf")) if folder.is_dir() else []
    if not found:
        raise DataError(HELP.format(folder=folder))
    sums = folder / SUMS
    if not sums.is_file():
        raise DataError(
            f"{sums}: is missing; get it from {PAGE.replace('content', 'files')}{SUMS} to compare "
            "the recordings with"
        )
    known = {}
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.strip().partition(" ")
        known[Path(name.strip().lstrip("*")).name] = digest.lower()
    for path in found:
        if path.name not in known:
            raise DataError(f"{path}: {sums} does not name it; remove it, or get the list anew")
        if hashlib.sha256(path.read_bytes()).hexdigest() != known[path.name]:
            raise DataError(f"{path}: differs from PhysioNet's checksum; download it again")
    return len(found)


def main() -> int:
    """Check the folder that the command line names."""
    folder = Path(sys.argv[1])
    try:
        count = verify(folder)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {count} recordings, each with PhysioNet's checksum")
    return 0


if __name__ == "__main__":
    sys.exit(main())
