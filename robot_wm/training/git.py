"""What of the code a run was made with."""

from __future__ import annotations

import subprocess


def git_commit() -> str:
    """The commit of the working directory's checkout, '' outside one; '+' marks uncommitted changes."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
