"""Runs the benchmarks of speed and memory one after the other, and writes their tables to benchmarks/RESULTS.md.

    python -m benchmarks.report          # a quarter of an hour on 2 cores
    python -m benchmarks.report --full   # larger sizes, three quarters of an hour

Best on a machine that does nothing else.
"""

import argparse
import ast
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from bottletop.core.files import write_text
from bottletop.core.parallel import processors

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("bottletop", "dvc", "keras", "mlflow", "ncnn", "numpy", "pillow", "tensorflow")

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")  # what speed depends on


class Part(NamedTuple):
    """One benchmark."""

    title: str
    quick: str  # its arguments
    full: str


PARTS = {
    "extraction": Part("Extraction", "3 120", "5 240"),
    "reuse": Part("Features found again", "--images 10000", "--images 101000"),
    "training": Part("An epoch", "--images 4000", "--images 20000"),
    "networks": Part("An epoch of a network from scratch", "--rounds 1", "--rounds 3"),
    "unpacking": Part("Unpacking", "--images 1000", "--images 4000"),
    "overhead": Part("Commands", "--rounds 3", "--rounds 5"),
    "everyday": Part("A changed setting and a photo", "--rounds 3", "--rounds 5"),
    "memory": Part("Peak memory", "--images 5000 20000 --photos 20 60", "--images 20000 101000 --photos 50 200"),
    "growth": Part("Growth", "--images 1000 4000", "--images 1000 10000 101000"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    sections = [_machine("make bench-full" if options.full else "make bench")]
    for name in PARTS:
        sections.append(_section(name, full=options.full))
        print(f"\n{sections[-1]}", flush=True)
    write_text(RESULTS, "\n\n".join(sections) + "\n")


def _machine(command: str) -> str:
    """What the figures were measured on, and how busy it was before."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    can = ", ".join(flag for flag in FLAGS if flag in flags) or platform.machine()
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return "\n\n".join(
        (
            "# Results",
            f"Written by `{command}` on {time.strftime('%Y-%m-%d')}. Ratios count: seconds depend on the machine.",
            f"{cpu} ({can}), {processors()} processors, {memory}, load {os.getloadavg()[0]:.1f} before the start; "
            f"{platform.system()}, Python {platform.python_version()}, {versions}.",
        )
    )


def _section(name: str, *, full: bool) -> str:
    """Runs a benchmark; its title, what it says of itself, and its table."""
    part = PARTS[name]
    command = ["python", "-m", f"benchmarks.{name}", *(part.full if full else part.quick).split()]
    start = time.monotonic()
    done = subprocess.run([sys.executable, *command[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with {done.returncode}, so {RESULTS.name} was not written")
    table = "\n".join(line for line in done.stdout.splitlines() if line.startswith("|"))
    source = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    about = (ast.get_docstring(source) or "").partition("\n")[0]
    took = f"`{' '.join(command)}`, {time.monotonic() - start:.0f} s"
    return f"## {part.title}\n\n{about}\n\n{table}\n\n{took}"


if __name__ == "__main__":
    main()
