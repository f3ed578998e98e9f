"""The features of one series, and the moments that give their scaler."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.names import Id, series_name
from pipeline.features.offset import coarse_offset

# Added to each eigenvalue when features are whitened: neighbouring low-passes are nearly the same,
# and without it the directions in which they differ by rounding alone would be blown up.
WHITEN_FLOOR = 1e-3


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter matrix of the features: enough to standardise and to whiten them.

    They are kept for each series, so that any choice of training series has its scaler without a
    further pass over the data.

    Parameters
    ----------
    count : int
        Rows.
    mean : ndarray, shape (F,)
        Less the offset.
    scatter : ndarray, shape (F, F)
        Sum over the rows of the outer product of the deviations from the mean.
    offset : ndarray, shape (F,)
        See `pipeline.features.offset`.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Measure one series' features, shape (T', F)."""
        offset = np.zeros(features.shape[1])
        if features.dtype == np.float64:  # single precision holds them where there is none
            offset = coarse_offset(features[0])
            features = features - offset
        mean = features.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((len(mean), len(mean)))
        # Block by block: a float64 copy of a whole series would be the largest array of the stage.
        for begin in range(0, len(features), 4096):
            block = features[begin : begin + 4096] - mean
            scatter += block.T @ block
        return cls(len(features), mean, scatter, offset)

    def save(self, path: Path) -> None:
        """Write them."""
        np.savez(path, **vars(self))

    @staticmethod
    def pooled(parts: list[Moments]) -> Moments:
        """Combine the moments of several series (Chan, Golub & LeVeque 1979)."""
        count = sum(p.count for p in parts)
        offset = parts[0].offset
        means = [p.mean + (p.offset - offset) for p in parts]
        mean = np.sum([m * p.count for m, p in zip(means, parts, strict=True)], axis=0) / count
        scatter = np.sum(
            [
                p.scatter + p.count * np.outer(m - mean, m - mean)
                for m, p in zip(means, parts, strict=True)
            ],
            axis=0,
        )
        return Moments(count, mean, scatter, offset)

    def scaler(self, whiten: bool) -> tuple[np.ndarray, np.ndarray]:
        """Give what standardises features x as ``(x - mean) @ matrix``.

        Parameters
        ----------
        whiten : bool
            False divides each feature by its standard deviation. True goes on to the principal
            components of the standardised features, each scaled to about unit variance (PCA
            whitening, Kessy, Lewin & Strimmer 2018, "PCA-cor").

        Returns
        -------
        mean : ndarray of float64, shape (F,)
            Single precision, and the offset.
        matrix : ndarray of float32, shape (F, F)
            Diagonal unless whitening.
        """
        deviation = np.sqrt(np.diag(self.scatter) / self.count)
        flat = deviation <= 1e-6 * np.maximum(1.0, np.abs(self.mean))
        scale = np.where(flat, 1.0, deviation)
        matrix = np.diag(1.0 / scale)
        if whiten:
            correlation = self.scatter / self.count / np.outer(scale, scale)
            values, vectors = np.linalg.eigh(correlation)
            # eigh leaves each vector's sign open; fix it, so that every machine agrees.
            vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
            matrix = matrix @ (vectors / np.sqrt(np.maximum(values, 0.0) + WHITEN_FLOOR))
        mean = self.mean.astype(np.float32).astype(np.float64) + self.offset
        return mean, matrix.astype(np.float32)


@dataclass(frozen=True)
class FeatureSeries:
    """The features of one series, memory-mapped.

    Parameters
    ----------
    subject, series : int or Name
        Which one.
    features : ndarray of float32 or float64, shape (T', F)
        Not yet standardised. Double precision only where channels have an offset.
    labels : ndarray of uint8, shape (T', E), or None
        None for a series without labels.
    moments : Moments
        Of this series.
    """

    subject: Id
    series: Id
    features: np.ndarray
    labels: np.ndarray | None
    moments: Moments

    def release(self) -> None:
        """Give back the memory of the features that were read; the file gives them anew."""
        file = self.features.base
        if isinstance(file, mmap.mmap) and hasattr(file, "madvise"):  # Windows lacks it
            file.madvise(mmap.MADV_DONTNEED)

    def save(self, folder: Path) -> None:
        """Write a file for each part that is there."""
        stem = folder / series_name(self.subject, self.series)
        np.save(f"{stem}_features.npy", self.features)
        self.moments.save(Path(f"{stem}_moments.npz"))
        if self.labels is not None:
            np.save(f"{stem}_labels.npy", self.labels)

    @classmethod
    def load(cls, folder: Path, subject: Id, series: Id) -> FeatureSeries:
        """Open what `save` wrote."""
        stem = folder / series_name(subject, series)
        labels = Path(f"{stem}_labels.npy")
        with np.load(f"{stem}_moments.npz") as stored:
            moments = Moments(
                int(stored["count"]), stored["mean"], stored["scatter"], stored["offset"]
            )
        return cls(
            subject,
            series,
            np.load(f"{stem}_features.npy", mmap_mode="r"),
            np.load(labels, mmap_mode="r") if labels.exists() else None,
            moments,
        )
