#!/usr/bin/env python3
"""readme: the first program of README.md is what a newcomer copies.

Goal: it has at most 25 lines, compiles without a warning and prints the right number. Method: the
first ```c block is taken out, compiled against the library of this build, and run.

usage: readme.py README INCLUDE_DIR LIBRARY
"""
import os
import re
import subprocess
import sys
import tempfile


def main(readme, include, library):
    with open(readme, encoding="utf-8") as f:
        blocks = re.findall(r"^```c\n(.*?)^```", f.read(), re.S | re.M)
    if not blocks:
        print("README has no ```c block", file=sys.stderr)
        return 1
    program = blocks[0]
    lines = program.count("\n")
    if lines > 25:
        print("the first program has %d lines, at most 25" % lines, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        source, binary = os.path.join(folder, "fib.c"), os.path.join(folder, "fib")
        with open(source, "w", encoding="utf-8") as f:
            f.write(program)
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Wpedantic",
                        "-Werror", "-I" + include, "-o", binary, source, library,
                        "-Wl,-rpath," + os.path.dirname(os.path.abspath(library))], check=True)
        run = subprocess.run([binary], capture_output=True, text=True, timeout=120)
    if run.returncode != 0 or run.stdout != "fib(25) = 75025\n":
        print("exit %d, printed %r %r" % (run.returncode, run.stdout, run.stderr), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
