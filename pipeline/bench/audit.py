"""Ask PyPI which installed packages have known weaknesses, with ``pip-audit`` (extra ``audit``).

``python -m pipeline.bench.audit`` names them, and those that PyPI said nothing about: a package
that could not be looked up is not a safe one.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = (
    sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off",
    "--desc", "off", "--format", "json",
)  # fmt: skip
SHOWN = 5  # names in a line


def verdict(report: str, said: str) -> tuple[int, list[str]]:
    """Say what an audit found.

    Parameters
    ----------
    report : str
        What ``pip-audit --format json`` wrote; empty if it failed.
    said : str
        What it said besides.

    Returns
    -------
    int
        0 if every package was looked up and none is weak, 1 if one is, 2 if some or all could not
        be looked up.
    list of str
        A line for each weakness, and one for the whole.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in said.splitlines() if line.strip()]
        return 2, [f"not audited: PyPI cannot be asked ({lines[-1] if lines else 'no answer'})"]
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    known = [each for each in packages if "skip_reason" not in each]
    lines = [
        f"{each['name']} {each['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no version yet'}"
        for each in known
        for weakness in each["vulns"]
    ]
    whole = f"{len(known)} packages looked up, {len(lines)} known weaknesses"
    if unknown:
        more = ", ..." if len(unknown) > SHOWN else ""
        names = ", ".join(unknown[:SHOWN]) + more
        whole += f"; not audited: PyPI says nothing of {len(unknown)} packages ({names})"
    return 1 if lines else 2 if unknown or not known else 0, [*lines, whole]


def main() -> int:
    """Run the command; see `verdict` for its status."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    status, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines), file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
