"""For mutate.py and mutate_task.py: plant a bug in a copy, build a model test against it, run."""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def plant(source, scratch, edits):
    """A copy of `source` in `scratch` with the edits; None, or why it cannot be."""
    with open(source, encoding="utf-8") as file:
        text = file.read()
    for old, new in edits:
        if text.count(old) != 1:
            return "%r occurs %d times in %s" % (old, text.count(old), os.path.basename(source))
        text = text.replace(old, new)
    with open(os.path.join(scratch, os.path.basename(source)), "w", encoding="utf-8") as file:
        file.write(text)
    return None


def verdict(scratch, folders, files, limit_s, bound=None):
    """(exit status, first line of what it said) of the test built from `files`."""
    program = os.path.join(scratch, "program")
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-DWF_SIM", "-O1", "-g",
               "-w", "-I" + scratch, *("-I" + os.path.join(ROOT, folder) for folder in folders),
               *files, os.path.join(ROOT, "tests", "support", "explore.c"), "-o", program,
               "-pthread"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        return None, "does not compile: " + built.stderr
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_")}
    if bound:
        environment["WEFT_EXPLORE_BOUND"] = bound
    try:
        ran = subprocess.run([program], capture_output=True, text=True, timeout=limit_s,
                             env=environment)
    except subprocess.TimeoutExpired:
        return None, "no verdict in time"
    lines = ran.stderr.strip().splitlines()
    return ran.returncode, lines[0] if lines else ""


def main(mutations, attempt):
    """Try those whose description (second item) has argv[1] in it; the exit status of the program.

    `attempt(scratch, mutation)` gives what verdict() gives. One that is called "nothing" must
    pass; any other must fail with a schedule.
    """
    def judge(mutation):
        with tempfile.TemporaryDirectory(prefix="weft-mutate-") as scratch:
            code, said = attempt(scratch, mutation)
        if mutation[1] == "nothing":
            return code == 0 and said == "", said or "passes"
        return code == 1 and "FAILED" in said, said

    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutation for mutation in mutations if wanted in mutation[1]]
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        verdicts = list(pool.map(judge, chosen))
    for mutation, (right, said) in zip(chosen, verdicts):
        print("%s %s: %s\n      %s" % ("right" if right else "WRONG", mutation[0], mutation[1],
                                      re.sub(r"\S*/(?=[a-z]+\.[ch])", "", said)))
        wrong += not right
    print("%d tried, %d wrong" % (len(chosen), wrong))
    return 1 if wrong or not chosen else 0
