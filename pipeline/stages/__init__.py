"""The stages of a command, in their order."""
