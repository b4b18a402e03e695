"""`make bench`: speeds of this machine, medians over interleaved rounds, peers beside us in the same run.

    make bench                           # everything, about five minutes on two cores
    make bench ARGS="renderer config"    # some parts

Writes benchmarks/results/<machine>.json and .md. The machine's description is part of the file.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import parts as library
from benchmarks import renderer, sky_store, stamp_sets
from benchmarks.accelerator import accelerator
from benchmarks.bank_load import bank_load
from benchmarks.evaluate import evaluate
from benchmarks.manifest import manifest
from benchmarks.measure import Rows
from benchmarks.selection import selection
from benchmarks.spark import spark
from benchmarks.stamps import stamps, stamps_memory
from benchmarks.start import start
from benchmarks.targets import targets
from benchmarks.validate_sets import validate

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU and package versions."""
    import torch

    from dhs.config.run_dir import versions

    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory_gib), "gpu": gpu, **versions()}


def config_errors() -> Rows:
    """Seconds from the command to exit code 2 for a wrong override, as a whole process."""

    def wrong() -> float:
        started = time.perf_counter()
        code = subprocess.run([sys.executable, "train.py", "trainer.lrr=1"], capture_output=True).returncode
        assert code == 2
        return time.perf_counter() - started

    values = [wrong() for _ in range(8)][1:]
    return [
        {
            "part": "config",
            "what": "wrong override to exit code 2",
            "unit": "s",
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "rounds": len(values),
        }
    ]


def write(rows: Rows) -> Path:
    """Results beside the machine's description, as JSON and as a table."""
    about = machine()
    name = f"{(about['gpu'] or about['cpu'])}-{about['cores']}cores".lower().replace(" ", "-")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    parts = {row["part"] for row in rows}
    merged = [row for row in earlier if row["part"] not in parts] + rows
    path.write_text(json.dumps({"machine": about, "rows": merged}, indent=2) + "\n")
    lines = [
        f"# {about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, GPU: {about['gpu']}",
        "",
        "| part | what | median | min | max | unit | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in merged:
        ratio = f"{row['ratio']:.2f} x {row['ratio_to']}" if "ratio" in row else ""
        lines.append(
            f"| {row['part']} | {row['what']} | {row['median']:.3g} | {row['min']:.3g} | {row['max']:.3g} "
            f"| {row['unit']} | {ratio} |"
        )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return path


def main(parts: list[str]) -> None:
    available: dict[str, Callable[[], Rows]] = {
        "config": config_errors,
        "renderer": renderer.renderer,
        "renderer_stages": renderer.stages,
        "renderer_threads": renderer.threads,
        "renderer_accuracy": renderer.accuracy,
        "renderer_gpu": renderer.gpu,
        "stream": library.stream,
        "training": library.training,
        "accelerator": accelerator,
        "sky": library.mock_sky,
        "bank": library.bank,
        "bank_load": bank_load,
        "start": start,
        "manifest": manifest,
        "targets": targets,
        "cutouts": sky_store.cutouts,
        "store": sky_store.store,
        "spark": spark,
        "validate": validate,
        "compact": stamp_sets.compact,
        "stamps_stream": stamp_sets.stamps_stream,
        "stamps": stamps,
        "selection": selection,
        "evaluate": evaluate,
        "stamps_memory": stamps_memory,
    }
    unknown = set(parts) - set(available)
    if unknown:
        sys.exit(f"unknown part {', '.join(sorted(unknown))}: must be among {', '.join(available)}")
    for name in parts or available:
        print(f"{name} ...", flush=True)
        rows = available[name]()
        for row in rows:
            ratio = f"  ({row['ratio']:.2f} x {row['ratio_to']})" if "ratio" in row else ""
            print(f"  {row['what']}: {row['median']:.4g} {row['unit']}{ratio}", flush=True)
        path = write(rows)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
