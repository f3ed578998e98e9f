"""The options of each method, of the group ``method``: one dataclass per method."""
