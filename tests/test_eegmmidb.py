"""The example data set: what is told where it is missing, and its checksums."""

from __future__ import annotations

import hashlib

import pytest

from pipeline.data.eegmmidb import verify
from pipeline.errors import DataError

pytestmark = pytest.mark.slow


def test_what_is_missing_unknown_or_different_is_told(tmp_path):
    with pytest.raises(DataError, match=r"holds no recordings yet.*\n.*\n.*\n *wget"):
        verify(tmp_path)
    (tmp_path / "S001").mkdir()
    file = tmp_path / "S001" / "S001R03.edf"
    file.write_bytes(b"samples")
    with pytest.raises(DataError, match=r"SHA256SUMS\.txt: is missing"):
        verify(tmp_path)
    digest = hashlib.sha256(b"samples").hexdigest()
    (tmp_path / "SHA256SUMS.txt").write_text(f"{digest} S001/S001R03.edf\n", encoding="utf-8")
    assert verify(tmp_path) == 1
    file.write_bytes(b"other")
    with pytest.raises(DataError, match=r"S001R03\.edf: differs"):
        verify(tmp_path)
    file.rename(file.with_name("S001R04.edf"))
    with pytest.raises(DataError, match="does not name it"):
        verify(tmp_path)
