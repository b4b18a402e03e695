"""Exit codes and colours of the checks of injection: `task=selfcheck` of a configuration, `task=validate` of a set."""

EXIT_FAILED = 1
EXIT_NOT_CHECKED = 3
"""Nothing failed, but something could not be looked at (2 is a wrong configuration)."""

STATE_STYLE: dict[str, str] = {
    "pass": "green",
    "FAIL": "bold red",
    "not checked": "bold yellow",
    "warning": "yellow",
    "not applicable": "dim",
}
"""Style in the terminal of what a check says."""
