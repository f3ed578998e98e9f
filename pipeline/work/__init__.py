"""Tasks: caching, atomic writes, parallel execution."""
