"""How large each planted mistake is, and which checks notice: the table of docs/conventions.md, measured.

    python -m tests.inject.selfcheck.measure_mistakes experiment=quickstart > mistakes.md

Size: max |wrong - right| / peak of the right arc, in the worst band; the median over the stamps.
"""

import sys
from dataclasses import replace

import numpy as np

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.selfcheck.light import painted
from dhs.inject.selfcheck.physics import Physics, load_physics
from dhs.inject.selfcheck.rows import failed
from dhs.inject.selfcheck.run import CHECKS
from tests.inject.selfcheck.mistakes import MISTAKES, NOISE_MISTAKES


def size(right: Physics, wrong: Physics) -> float:
    """Median error of the arcs that are painted, or of those that are found in finished stamps."""
    recipes = wrong.stamps.recipes
    expected = painted(right, recipes).double().numpy()
    peak = expected.max(axis=(-2, -1))
    sizes = [
        np.median((np.abs(arcs - expected).max(axis=(-2, -1)) / peak).max(axis=1))
        for arcs in (painted(wrong, recipes).double().numpy(), wrong.arcs_nmgy)
    ]
    return float(max(sizes))


def main(overrides: list[str]) -> None:
    config = compose_job("inject", ["task=selfcheck", *overrides], schema=InjectRoot)
    right = load_physics(config, max_galaxies=256, n_stamps=48, n_reference=4)
    noisy_inject = config.inject.model_copy(update={"arc_noise": "poisson_correlated"})
    noisy = replace(right, config=config.model_copy(update={"inject": noisy_inject}))
    print("| mistake | error / peak | checks that fail |\n|---|---|---|")
    for name, mistake in [*MISTAKES.items(), *NOISE_MISTAKES.items()]:
        wrong = mistake.plant(noisy if name in NOISE_MISTAKES else right)
        noticed = [check for check, run in CHECKS.items() if failed(run(wrong))]
        error = size(right, wrong)
        shown = "-" if error < 1e-6 else f"{error:.1g}" if error < 10 else f"{error:.0f}"
        print(f"| {name} | {shown} | {', '.join(noticed)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
