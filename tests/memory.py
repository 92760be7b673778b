"""The memory that a piece of code takes, in a process of its own. Linux only."""

import subprocess
import sys

# Not `getrusage`: its peak starts at that of the process which starts this one.
PRINT_PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"


def peak_kb(code: str, *arguments: str, stdin: bytes = b"") -> tuple[str, int]:
    """Runs the code with the arguments in `sys.argv[1:]`: what it printed, and its peak resident memory in KiB."""
    command = [sys.executable, "-c", code + PRINT_PEAK, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=True)
    *said, peak = done.stdout.decode().splitlines()
    return "\n".join(said), int(peak)
