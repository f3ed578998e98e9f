"""Products of one row with a matrix whose bits are those of a product of many rows."""

from __future__ import annotations

import numpy as np

# Up to so many multiplications, OpenBLAS takes other kernels on some processors; they add up in
# another order. And a product of one row alone is computed in another way by all libraries.
FEW = 100**3


def row_product(row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply one row, shape (K,), by a matrix, shape (K, N): shape (N,).

    The row is put above rows of zeros, so that BLAS computes it as one of many rows. Then the last
    bits of a prediction that is computed row by row are those of the whole series' prediction,
    wherever BLAS computes every row of a large product alike.
    """
    many = np.zeros((2 + FEW // matrix.size, len(row)), dtype=row.dtype)
    many[0] = row
    return (many @ matrix)[0]
