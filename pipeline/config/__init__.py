"""The typed options, and how they are composed."""
