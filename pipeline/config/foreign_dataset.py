"""The options of data sets that MNE reads: ``dataset=mne`` and what is built on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pipeline.config.dataset import Dataset
from pipeline.config.demand import Demand, demand_of
from pipeline.data.foreign_options import UNIT_VOLTS, ForeignOptions, pattern_regex

# BIDS' entities that may tell the recordings of a subject apart.
SERIES_ENTITIES = ("session", "task", "acquisition", "run")


@dataclass
class MneDataset(Dataset):
    """Recordings in any format that MNE reads; `ForeignOptions` says what each option means."""

    SUBMISSION: ClassVar[bool] = False
    MAY_BE_EMPTY: ClassVar[tuple[str, ...]] = (
        "channels", "events", "train_series", "valid_series", "test_series",
    )  # fmt: skip

    pattern: str = ""
    markers: dict[str, str] = field(default_factory=dict)
    label: str = "onset"
    before: float = 0.0
    after: float = 0.0
    stim_channel: str | None = None
    pick: str = "eeg"
    exclude: list[str] = field(default_factory=list)
    rename: dict[str, str] = field(default_factory=dict)
    standard_names: bool = True
    subtract_first: bool = True
    unit_factor: float = 1.0
    reader: dict[str, Any] = field(default_factory=dict)

    @property
    def relative(self) -> bool:
        """Whether each channel counts from its first sample."""
        return self.subtract_first

    @property
    def source_options(self) -> dict[str, Any]:
        """What ``find_series`` is told."""
        return {"options": self.reading()}

    def reading(self) -> ForeignOptions:
        """Say how files are read."""
        return ForeignOptions(
            pattern=self.pattern, markers=dict(self.markers), label=self.label, before=self.before,
            after=self.after, stim_channel=self.stim_channel, channels=tuple(self.channels),
            pick=self.pick, exclude=tuple(self.exclude), rename=dict(self.rename),
            standard_names=self.standard_names, montage=self.montage, rate=self.rate,
            subtract_first=self.subtract_first, unit_factor=self.unit_factor,
            reader=dict(self.reader),
        )  # fmt: skip

    def check_description(self, demand: Demand) -> None:
        """Refuse options that cannot be."""
        demand(self.rate >= 0, "rate", "must be above 0 Hz, or 0 for that of the files")
        demand(self.unit_volts == UNIT_VOLTS, "unit_volts",
               f"is always {UNIT_VOLTS:g} here: units come from the files; if theirs is wrong, set "
               "dataset.unit_factor")  # fmt: skip
        columns = list(dict.fromkeys(self.markers.values()))
        demand(list(self.events) in ([], columns), "events",
               f"follow from dataset.markers here: {', '.join(columns)}")  # fmt: skip
        demand(self.label in ("onset", "span"), "label", "must be onset or span")
        demand(self.before >= 0, "before", "must be 0 s or more")
        demand(self.after >= 0, "after", "must be 0 s or more")
        demand(self.label == "span" or self.before + self.after > 0, "after",
               "a label around an onset must last: set before and after, in s")  # fmt: skip
        demand(self.unit_factor > 0, "unit_factor", "must be above 0")
        self.check_pattern(demand)

    def check_complete(self) -> None:
        """Refuse what is left open, and is needed for more than looking at the files."""
        demand = demand_of("dataset", self)
        what = "say which annotation is which event, e.g. {T1: Left, T2: Right}"
        demand(bool(self.markers), "markers", f"{what}; stage=ingest tells what there is")
        for key in ("train_series", "valid_series", "test_series"):
            demand(bool(getattr(self, key)), key, "name some; stage=ingest tells what there is")

    def check_pattern(self, demand: Demand) -> None:
        """Refuse a pattern that does not say what is what."""
        try:
            pattern_regex(self.pattern)
        except ValueError as error:
            demand(False, "pattern", str(error))


@dataclass
class BidsDataset(MneDataset):
    """A BIDS data set of EEG: its file names and events are as BIDS says."""

    entities: list[str] = field(default_factory=lambda: list(SERIES_ENTITIES))

    def reading(self) -> ForeignOptions:
        """Say how files are read."""
        return replace(super().reading(), entities=tuple(self.entities))

    def check_pattern(self, demand: Demand) -> None:
        """Refuse a pattern, which is of no use here, and entities that tell no series apart."""
        demand(not self.pattern, "pattern", "is not read: BIDS says how files are named")
        known = set(self.entities) <= set(SERIES_ENTITIES)
        choose = f"choose from {', '.join(SERIES_ENTITIES)}"
        demand(bool(self.entities) and known, "entities", choose)
