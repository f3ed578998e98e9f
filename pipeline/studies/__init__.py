"""Searches for better parameters."""
