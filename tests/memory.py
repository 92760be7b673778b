"""The memory that a piece of code takes, in a process of its own. Linux only."""

import subprocess
import sys

from benchmarks import samples

PRINT_PEAK = "\nimport os; from benchmarks.memory import high_water_bytes; print(high_water_bytes(os.getpid()) >> 10)"


def peak_kb(code: str, *arguments: str, stdin: bytes = b"") -> tuple[str, int]:
    """Runs the code with the arguments in `sys.argv[1:]`: what it printed, and its peak resident memory in KiB."""
    command = [sys.executable, "-c", code + PRINT_PEAK, *arguments]
    done = subprocess.run(command, cwd=samples.ROOT, input=stdin, capture_output=True, check=True)
    *said, peak = done.stdout.decode().splitlines()
    return "\n".join(said), int(peak)
