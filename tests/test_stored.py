"""What a detector has learned, on its way to the disk."""

import errno
import sys
from pathlib import Path

import pytest
import torch

from pipeline.detectors.stored import write_tensors


def test_it_is_read_again(tmp_path):
    write_tensors(tmp_path / "model.pt", {"weight": torch.arange(3), "name": "one"})
    again = torch.load(tmp_path / "model.pt", weights_only=True)
    assert again["weight"].tolist() == [0, 1, 2]
    assert again["name"] == "one"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told_as_such():
    with pytest.raises(OSError, match="No space left") as told:
        write_tensors(Path("/dev/full"), {"weight": torch.zeros(100_000)})
    assert told.value.errno == errno.ENOSPC


@pytest.mark.skipif(sys.platform != "linux", reason="limits a file's size as Linux does")
@pytest.mark.parametrize("room", [0, 4_000, 100_000, 399_000])
def test_a_disk_that_is_full_in_the_middle_of_the_file_is_told_as_such(tmp_path, room):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_tensors(tmp_path / "model.pt", {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
