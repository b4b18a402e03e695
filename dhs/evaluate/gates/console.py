"""The gates on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhs.evaluate.gates.judge import Gate, Outcome, claim

STYLE: dict[Outcome, str] = {
    "PASS": "green",
    "FAIL": "bold red",
    "cannot tell": "bold yellow",
    "not applicable": "dim",
}


def print_gates(gates: Sequence[Gate], console: Console) -> None:
    """Outcome, numbers and limits of every gate, and advice where there is any; nothing is read as rich markup."""
    table = Table("outcome", "gate", "measured [95%]", "allowed", box=None, pad_edge=False)
    for gate in gates:
        measured = Text(gate.measured)
        if gate.advice:
            measured.append(f"\n{gate.advice}", style="italic")
        title = Text(gate.question.title)
        table.add_row(Text(gate.outcome, style=STYLE[gate.outcome]), title, measured, Text(gate.allowed))
    console.print(table)
    console.print(Text(claim(gates), style="bold"))
