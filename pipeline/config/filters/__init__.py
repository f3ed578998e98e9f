"""The options of each kind of features, of the group ``filter``: one dataclass per kind."""
