#!/usr/bin/env python3
"""Weakened memory orders: each must be reported by ThreadSanitizer, or be listed with the reason.

Goal: no acquire or release of the queue room is there by habit, and no test is blind to its
loss; and the barrier that the deque's forcing thief pays is really needed. Method: make one
ordered operation of a shipped source relaxed at a time (in a copy; acq_rel loses one half at a
time), build the stress tests of its structure under ThreadSanitizer and demand a report. What
ThreadSanitizer cannot see (orders between atomic operations only, which it runs as the hardware
does) is in NOT_OBSERVABLE with the argument that takes the test's place; an entry that is
reported after all, or that names no operation, is an error. Last, the membarrier is replaced by
nothing, and the deque's stress test must find items taken twice.

Usage: tests/model/orders.py [substring of a file:function]. Runs only when WEFT_TEST_LONG=1
(exit 77 otherwise). Compiler from CC (default cc).
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUEUE = os.path.join(ROOT, "engine", "queue")
BASE = os.path.join(ROOT, "engine", "base")
STRESS = os.path.join(ROOT, "tests", "stress")
BASE_SOURCES = ["cgroup.c", "check.c", "clock.c", "fault.c", "futex.c", "memory.c", "random.c",
                "synthetic.c", "sysfs.c", "thread.c", "topology.c", "topology_hwloc.c"]
QUEUE_SOURCES = ["deque.c", "injector.c", "parker.c"]
TESTS = {"deque": ["deque_handover", "deque"], "injector": ["injector"], "mpsc": ["mpsc"],
         "parker": ["parker"]}
SEEDS = ["1", "2", "3", "4", "5", "6"]
OWN_MEMBARRIER = {"deque_handover"}

ORDERED = re.compile(r"\bwf_(load|store|swap|cas|add|or|and)_(acquire|release|acq_rel)\(")
FUNCTION = re.compile(r"^[a-z].*?\b(\w+)\(")

SLOT_REUSE = ("keeps a thief's slot loads before the owner's next stores to those slots; slots are "
              "atomic, and ThreadSanitizer does not reorder")
BOTTOM = ("a later store to bottom by the same thread: ThreadSanitizer keeps the clock of the push "
          "before it, as C17's release sequences do; the release matters when the owner has moved "
          "to another thread, for holes and copies in (atomic) slots, and to C++20")
LOCK = "the lock of the forcing thieves guards one atomic word and no plain data"
PAIR = ("index and block are two atomics, ordered to each other; either order alone brings the "
        "plain data of the block, so the loss of one shows only where loads or stores reorder")

# (file, function, which ordered operation of the function, counted from 1): the reason
NOT_OBSERVABLE = {
    ("deque.c", "wf_deque_push_slow", 1): SLOT_REUSE,
    ("deque.c", "take_newest", 1): SLOT_REUSE,
    ("deque.c", "steal_singly", 2): SLOT_REUSE,
    ("deque.c", "wf_deque_steal_mt", 3): SLOT_REUSE,
    ("deque.c", "lower", 1): BOTTOM,
    ("deque.c", "raise", 1): BOTTOM,
    ("deque.c", "reclaim", 2): BOTTOM,
    ("deque.c", "wf_deque_remove_local", 1): BOTTOM,
    ("deque.h", "wf_deque_pop_local", 1): BOTTOM,
    ("deque.h", "wf_deque_take_private_local", 1): BOTTOM,
    ("deque.h", "wf_deque_take_private_local", 2): BOTTOM,
    ("deque.c", "reclaim", 1): "publishes copies in atomic slots; what the items point to was "
                               "published by the exposure before",
    ("deque.c", "wf_deque_force_mt", 1): LOCK,
    ("deque.c", "wf_deque_force_mt", 2): LOCK,
    ("injector.c", "claim", 1): PAIR,
    ("injector.c", "claim", 2): PAIR,
    ("injector.c", "claim", 3): PAIR,
    ("injector.c", "claim", 4): PAIR,
    ("injector.c", "cross_edge", 2): PAIR,
    ("injector.c", "cross_edge", 3): PAIR,
    ("injector.c", "wf_injector_pop_mt", 1): PAIR,
    ("injector.c", "wf_injector_pop_mt", 2): PAIR,
}


def operations():
    """Every ordered operation: (file, function, number in it, offset, match, weaker orders)."""
    found = []
    for name in sorted(os.listdir(QUEUE)):
        if not name.endswith((".c", ".h")):
            continue
        with open(os.path.join(QUEUE, name), encoding="utf-8") as file:
            text = file.read()
        function, number, offset = "", 0, 0
        comment = False
        for line in text.splitlines(keepends=True):
            head = FUNCTION.match(line)
            if head and not line.rstrip().endswith(";"):
                function, number = head.group(1), 0
            for match in ORDERED.finditer(line):
                before = line[:match.start()]
                if comment or "/*" in before:
                    continue
                number += 1
                weaker = ["relaxed"]
                if match.group(2) == "acq_rel":
                    weaker = ["acquire", "release"]
                for order in weaker:
                    found.append((name, function, number, offset + match.start(), match.group(0),
                                  order))
            if "/*" in line:
                comment = "*/" not in line
            elif "*/" in line:
                comment = False
            offset += len(line)
    return found


def build(scratch, test, objects, membarrier, sanitize):
    program = os.path.join(scratch, "stress-" + test)
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-w",
               "-I" + scratch, "-I" + BASE, os.path.join(STRESS, test + ".c")]
    command += sanitize + [os.path.join(scratch, source) for source in QUEUE_SOURCES] + objects
    if test not in OWN_MEMBARRIER:
        command.append(membarrier)
    command += ["-o", program, "-pthread"]
    subprocess.run(command, check=True)
    return program


def run(program, seed):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_")}
    environment["WEFT_TEST_SEED"] = seed
    environment["TSAN_OPTIONS"] = "halt_on_error=1 exitcode=66"
    try:
        return subprocess.run([program], capture_output=True, text=True, timeout=120,
                              env=environment)
    except subprocess.TimeoutExpired:
        return None


def judge(operation, objects, membarrier):
    """What was found, or '' when every run passed."""
    name, function, number, offset, text, order = operation
    seeds = SEEDS[:1] if (name, function, number) in NOT_OBSERVABLE else SEEDS
    with tempfile.TemporaryDirectory(prefix="weft-orders-") as scratch:
        for entry in os.listdir(QUEUE):
            if not entry.endswith((".c", ".h")):
                continue
            with open(os.path.join(QUEUE, entry), encoding="utf-8") as file:
                source = file.read()
            if entry == name:
                weak = ORDERED.sub(lambda m: "wf_%s_%s(" % (m.group(1), order), text)
                source = source[:offset] + weak + source[offset + len(text):]
            with open(os.path.join(scratch, entry), "w", encoding="utf-8") as file:
                file.write(source)
        for test in TESTS[name.split(".")[0]]:
            program = build(scratch, test, objects, membarrier, ["-fsanitize=thread"])
            for seed in seeds:
                ran = run(program, seed)
                if ran is None:
                    return "hangs: " + test
                if ran.returncode != 0:
                    kind = re.search(r"WARNING: ThreadSanitizer: ([a-z -]+)|(FAILED: .*)",
                                     ran.stderr)
                    return "%s: %s" % (test, kind.group(0) if kind else ran.returncode)
    return ""


def base_objects(scratch, flags):
    objects = []
    for source in BASE_SOURCES + ["membarrier.c"]:
        objects.append(os.path.join(scratch, source + ".o"))
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g",
                        "-w", "-c", "-I" + BASE, os.path.join(BASE, source), "-o", objects[-1]]
                       + flags, check=True)
    return objects[:-1], objects[-1]


def builds():
    """The programs, with nothing weakened: what they are made of is found out every day."""
    with tempfile.TemporaryDirectory(prefix="weft-orders-") as scratch:
        objects, membarrier = base_objects(scratch, [])
        for source in os.listdir(QUEUE):
            os.symlink(os.path.join(QUEUE, source), os.path.join(scratch, source))
        for test in sorted({test for tests in TESTS.values() for test in tests}):
            build(scratch, test, objects, membarrier, [])


def barrier_is_needed():
    """The forced deque without its membarrier: an item must be taken twice."""
    if (os.cpu_count() or 1) < 2:
        return "skipped: one CPU"
    with tempfile.TemporaryDirectory(prefix="weft-orders-") as scratch:
        objects, _ = base_objects(scratch, [])
        nothing = os.path.join(scratch, "nothing.c")
        with open(nothing, "w", encoding="utf-8") as file:
            file.write('#include "base.h"\nbool wf_membarrier_available(void) { return true; }\n'
                       "void wf_membarrier(void) { }\n")
        for source in QUEUE_SOURCES + ["deque.h", "injector.h", "mpsc.h", "parker.h"]:
            os.symlink(os.path.join(QUEUE, source), os.path.join(scratch, source))
        program = build(scratch, "deque", objects, nothing, [])
        for seed in SEEDS * 5:
            ran = run(program, seed)
            if ran is None or ran.returncode != 0:
                return "found"
    return ""


def main():
    if os.environ.get("WEFT_TEST_LONG", "0") in ("", "0"):
        builds()
        print("skipped: the programs build; running them takes minutes: WEFT_TEST_LONG=1")
        return 77
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [o for o in operations() if wanted in o[0] + ":" + o[1]]
    bad = 0
    used = set()
    with tempfile.TemporaryDirectory(prefix="weft-orders-") as scratch:
        objects, membarrier = base_objects(scratch, ["-fsanitize=thread"])
        with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            verdicts = list(pool.map(lambda o: judge(o, objects, membarrier), chosen))
    for operation, said in zip(chosen, verdicts):
        name, function, number, _, text, order = operation
        key = (name, function, number) if (name, function, number) in NOT_OBSERVABLE else None
        used.add(key)
        if said and not key:
            verdict = "found     "
        elif not said and key:
            verdict, said = "not seen  ", NOT_OBSERVABLE[key]
        else:
            verdict, said = "WRONG     ", said or "no test noticed"
            bad += 1
        print("%s%s:%s #%d %s -> %s\n          %s" % (verdict, name, function, number, text[:-1],
                                                    order, said))
    if not wanted:
        for key in set(NOT_OBSERVABLE) - used:
            print("WRONG     the list names %s:%s #%d, which is not there" % key)
            bad += 1
        needed = barrier_is_needed()
        print("%sdeque.c: no membarrier in the forcing thief: %s" % (
            "found     " if needed else "WRONG     ", needed or "no test noticed"))
        bad += not needed
    print("%d weakened, %d wrong" % (len(chosen), bad))
    return 1 if bad or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
