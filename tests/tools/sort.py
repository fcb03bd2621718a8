#!/usr/bin/env python3
"""sort.py: goal: weft-sort keeps its promises as a program: right bytes, exit codes, one clear line
for every failure, nothing left behind, readable JSON. Method: run the built program in a fresh
directory, compare with Python's stable sort, and look at what remains after each run.

Usage: sort.py WEFT_SORT
"""
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])
SEED = int(os.environ.get("WEFT_TEST_SEED") or "1")
RANDOM = random.Random(SEED)
LIMIT_S = 300

with open(PROGRAM, "rb") as binary:
    SANITIZED = b"san_init" in binary.read()
SHRINK = 4 if SANITIZED else 1
# What the README says a run takes beside its budget; sanitizers take any amount.
OVERHEAD = 10 ** 10 if SANITIZED else 32000000
# For a run with --mem 16M; the 16 MiB that the store leaves free wherever it is are not used.
MEMORY_GROUP = 16000000 + OVERHEAD + (16 << 20)


def fail(text):
    print("FAILED: %s\nagain: WEFT_TEST_SEED=%d %s %s" % (text, SEED, sys.argv[0], PROGRAM))
    sys.exit(1)


def expect(condition, text):
    if not condition:
        fail(text)


def run(*arguments, code=0, before=None, stdout=subprocess.PIPE):
    """Run the program; returns its output and its error line."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=stdout, stderr=subprocess.PIPE, preexec_fn=before,
                          timeout=LIMIT_S, check=False)
    error = done.stderr.decode()
    expect(done.returncode == code, "%s: exit %d, not %d: %s" %
           (arguments, done.returncode, code, error))
    return (done.stdout or b"").decode(), error


def refused(code, part, *arguments, **others):
    """The run ends with `code` and one line that has `part` in it; no new file is there."""
    files = sorted(os.listdir("."))
    _, error = run(*arguments, code=code, **others)
    expect(error.startswith("weft-sort: ") and error.count("\n") == 1 and error.endswith("\n"),
           "%s: not one line: %r" % (arguments, error))
    expect(part in error, "%s: %r lacks %r" % (arguments, error, part))
    expect(sorted(os.listdir(".")) == files, "%s left %s" % (arguments, os.listdir(".")))


def write(name, data):
    with open(name, "wb") as file:
        file.write(data)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def in_order(data, record, offset, length):
    records = [data[i:i + record] for i in range(0, len(data), record)]
    return b"".join(sorted(records, key=lambda r: r[offset:offset + length]))


def sorts(count, record, offset, length, symbols, *more):
    data = bytes(RANDOM.randrange(symbols) for _ in range(count * record))
    write("in", data)
    run("in", "-o", "out", "--record", record, "--key", "%d:%d" % (offset, length), *more)
    expect(read("out") == in_order(data, record, offset, length),
           "wrong order: %d records of %d, key %d:%d" % (count, record, offset, length))
    os.remove("out")


def test_sizes_and_keys():
    for count in (0, 1, 2, 7, 1000):
        sorts(count, 100, 0, 10, 3)
    sorts(20000, 1, 0, 1, 256)
    sorts(3000, 13, 5, 8, 2, "--check")
    sorts(3000, 13, 12, 1, 256, "--threads", 1)
    sorts(30, 4096, 1, 4095, 2, "--check", "--threads", 3)
    sorts(3, 1000000, 999000, 1000, 4)
    sorts(2000, 24, 0, 24, 2, "--check", "--fsync")
    data = bytes(RANDOM.randrange(3) for _ in range(500 * 7))
    write("in", data)
    run("in", "-o", "out", "--record", 7)  # the key of short records is all of them
    expect(read("out") == in_order(data, 7, 0, 7), "the default key of a short record")
    os.remove("out")


def test_output_names():
    data = bytes(RANDOM.randrange(256) for _ in range(100 * 50))
    wanted = in_order(data, 100, 0, 10)
    write("same", data)
    os.chmod("same", 0o640)
    run("same", "-o", "same")
    expect(read("same") == wanted, "sorting a file in place")
    expect(stat.S_IMODE(os.stat("same").st_mode) == 0o640, "the mode of a replaced file")
    write("target", b"old")
    os.symlink("target", "link")
    run("same", "-o", "link")
    expect(os.path.islink("link") and read("target") == wanted, "output through a link")
    os.mkdir("sub")
    run("same", "-o", "sub/new")
    expect(read("sub/new") == wanted and os.listdir("sub") == ["new"], "output elsewhere")
    mask = os.umask(0)
    os.umask(mask)
    expect(stat.S_IMODE(os.stat("sub/new").st_mode) == 0o666 & ~mask, "the mode of a new file")


def test_usage():
    for arguments in ([], ["in"], ["in", "in", "-o", "out"], ["in", "-o"], ["--nonsense"],
                      ["in", "-o", "out", "--record", "0"], ["in", "-o", "out", "--record", "x"],
                      ["in", "-o", "out", "--record", "-5"],
                      ["in", "-o", "out", "--record", "99999999999999999999"],
                      ["in", "-o", "out", "--key", "95:10"], ["in", "-o", "out", "--key", "0:101"],
                      ["in", "-o", "out", "--key", "4"], ["in", "-o", "out", "--key", "0:0"],
                      ["in", "-o", "out", "--key", "100:1"],
                      ["in", "-o", "out", "--key", "4294967295:4294967295"],
                      ["in", "-o", "out", "--key", "0:99999999999999999999"],
                      ["in", "-o", "out", "--record", "4", "--key", "0:10"],
                      ["in", "-o", "out", "--threads", "0"],
                      ["in", "-o", "out", "--threads", "1025"],
                      ["in", "-o", "out", "--skew"], ["in", "-o", "out", "--seed", "3"],
                      ["in", "-o", "out", "--json", "--quiet"],
                      ["in", "-o", "out", "--mem", "1M"], ["in", "-o", "out", "--mem", "x"],
                      ["in", "-o", "out", "--lines", "--key", "0:1"],
                      ["in", "-o", "out", "--lines", "--record", "10"],
                      ["in", "-o", "out", "--lines", "--gpu"],
                      ["--demo"], ["--demo", "many"], ["--demo", "1X"], ["--demo", "1Gx"],
                      ["--demo", "99999999T"], ["--demo", "1k", "in"],
                      ["--demo", "1k", "--seed", "x"]):
        refused(2, "", *arguments)
    out, error = run("--help")
    expect("Usage: weft-sort INPUT -o OUTPUT" in out and not error, "--help")
    out, error = run("--version")
    expect(out.startswith("weft-sort ") and not error, "--version")


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))


def test_failures():
    write("in", bytes(200000))
    refused(1, "No such file", "missing", "-o", "out")
    refused(1, "not a regular file", ".", "-o", "out")
    refused(1, "not a regular file", "/dev/zero", "-o", "out")
    refused(1, "200000 bytes, is no multiple of the record's 7", "in", "-o", "out", "--record", 7)
    refused(1, "No such file", "in", "-o", "nowhere/out")
    refused(1, "not a regular file", "in", "-o", "sub")
    refused(1, "not a regular file", "in", "-o", "/dev/full")
    refused(1, "", "in", "-o", "sub2/")
    refused(1, "File name too long", "in", "-o", "x" * 5000)
    refused(1, "File too large", "in", "-o", "out", before=limit_file_size)
    refused(1, "No such file", "--demo", "1k", "--dir", "nowhere")
    refused(1, "File too large", "--demo", "9000T", "--dir", ".")
    refused(1, "cannot spill to nowhere: No such file", "in", "-o", "out", "--spill-dir", "nowhere")
    refused(1, "cannot spill to /proc: ", "in", "-o", "out", "--spill-dir", "/proc")
    write("keep", b"what was there before")
    refused(1, "File too large", "in", "-o", "keep", before=limit_file_size)
    expect(read("keep") == b"what was there before", "a failed run touched the old file")
    refused(1, "nowhere/trace", "--demo", "1k", "--dir", ".", "--trace", "nowhere/trace")
    refused(1, "records are not lines", "in", "-o", "out", "--compare")
    with open("/dev/full", "wb") as full:
        refused(1, "cannot print the report", "--demo", "1k", "--dir", ".", stdout=full)


def test_reports():
    out, error = run("--demo", "1M", "--dir", ".", "--json", "--check", "--trace", "trace.json")
    expect(not error, "errors of a good run: " + error)
    report = json.loads(out)
    expect(report["records"] == 10000 and report["verified"] is True, "facts of the JSON report")
    expect(report["floor"]["seconds"] > 0, "the floor of the JSON report")
    stages = {stage["name"]: stage for stage in report["stages"]}
    for name in ("generate", "save input", "cut", "sample", "splitters", "read", "partition",
                 "sort", "write", "verify", "check", "floor read", "floor write"):
        expect(stages[name]["tasks"] > 0, "stage %s of the JSON report" % name)
    expect(stages["write"]["bytes"] == 1000000, "bytes of the JSON report")
    events = json.loads(read("trace.json"))["traceEvents"]
    tasks = [event for event in events if event["ph"] == "X"]
    expect(len(tasks) == sum(stage["tasks"] for stage in report["stages"]), "events of the trace")
    expect(all(event["dur"] >= 0 and event["ts"] >= 0 for event in tasks), "times of the trace")
    os.remove("trace.json")
    name = 'a "quoted\\" \x01 name \xe9'
    write(name, b"b" * 100 + b"a" * 100)
    out, _ = run(name, "-o", name, "--json")
    expect("quoted" in json.loads(out)["input"], "file names of the JSON report")
    os.remove(name)
    out, _ = run("--demo", "0", "--dir", ".", "--json")
    expect(json.loads(out)["records"] == 0, "a demo of nothing")
    out, _ = run("--demo", "1234567", "--dir", ".")
    expect("12,345 records of 100 bytes" in out and "floor" in out, "the text report")
    out, error = run("--demo", "10k", "--dir", ".", "--quiet")
    expect(out == "" and error == "", "--quiet prints")


def test_gpu():
    """On simulated devices, where there is no other: the same bytes; without any: one line."""
    os.environ["WEFT_GPU"] = "none"
    write("in", bytes(RANDOM.randrange(3) for _ in range(100 * 1000)))
    write("keep", b"what was there before")
    refused(1, "--gpu: no GPU was found", "in", "-o", "out", "--gpu")
    os.environ["WEFT_GPU"] = "sim:memory=100K"
    refused(1, "--gpu: a batch needs ", "in", "-o", "keep", "--gpu")
    expect(read("keep") == b"what was there before", "a failed run touched the old file")
    os.environ["WEFT_GPU"] = "sim:nonsense"
    refused(1, "; WEFT_GPU is sim:nonsense", "in", "-o", "out", "--gpu")
    os.environ["WEFT_GPU"] = "sim:2"
    for count in (0, 1, 7, 3000):
        sorts(count, 100, 0, 10, 3, "--gpu", "--check")
    sorts(20000, 1, 0, 1, 256, "--gpu")
    sorts(3000, 13, 5, 8, 2, "--gpu", "--mem", "4M")
    report = a_spilling_run("--gpu", "--compare", "--skew")
    stages = {stage["name"]: stage for stage in report["stages"]}
    expect(report["compare"]["identical"] is True, "GNU sort differs with --gpu")
    expect(stages["gpu"]["bytes"] >= 24000000 and stages["gpu copies"]["tasks"] > 0, "GPU stages")
    expect(report["gpu"]["copy_bound_gbs"] > 0 and report["gpu"]["ratio"] > 0, "the copy bound")
    interrupted(signal.SIGINT, ["--demo", "24M", "--mem", "8M", "--dir", ".", "--gpu"],
                has_written(30000000))
    out, _ = run("--demo", "1M", "--dir", ".", "--gpu")
    expect("the copy" in out and "simulated" in out, "the text report of --gpu")
    del os.environ["WEFT_GPU"]


def test_demo_keeps_what_it_is_told_to():
    run("--demo", "100k", "--dir", ".", "-o", "sorted", "--keep", "--seed", "5")
    data = read("weft-sort-demo.in")
    expect(len(data) == 100000, "the kept input")
    expect(read("sorted") == in_order(data, 100, 0, 10), "the kept output")
    os.remove("weft-sort-demo.in")
    os.remove("sorted")


def test_gnu_sort_agrees():
    for more in ([], ["--skew"], ["--record", "20", "--key", "5:9"], ["--record", "2"],
                 ["--record", "1"], ["--record", "40", "--key", "0:40", "--skew"],
                 ["--record", "60", "--key", "30:20", "--check", "--threads", "3"]):
        out, _ = run("--demo", "600k", "--dir", ".", "--compare", "--json", *more)
        expect(json.loads(out)["compare"]["identical"] is True, "GNU sort differs: %s" % more)


# ---- Lines and little memory -----------------------------------------------------------------


def a_text(kind, size):
    """Lines of about `size` bytes in all."""
    out = bytearray()
    others = bytes(b for b in range(256) if b != 10)
    front = b"https://www.example.org/a/prefix/that/is/longer/than/what/splitters/look/at/" * 2
    while len(out) < size:
        if kind == "empty":
            out += b"\n" * RANDOM.randrange(20) + b"\0" * RANDOM.randrange(3)
        elif kind == "bytes":
            out += RANDOM.randbytes(RANDOM.randrange(60)).replace(b"\n", b"") + b"\n"
        elif kind == "long":
            out += RANDOM.randbytes(RANDOM.choice((10, 10, 10, 10, 90000))).replace(b"\n", b"\0")
            out += b"\n"
        elif kind == "alike":
            out += front + bytes(RANDOM.choices(b"ab\0", k=RANDOM.randrange(9))) + b"\n"
        else:
            out += b"the same\n" * 50 + bytes([RANDOM.choice(others)]) + b"\n"
    return bytes(out)


def lines_in_order(data):
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\n" for line in sorted(lines))


def sorts_lines(data, *more):
    write("text", data)
    out, _ = run("text", "-o", "out", "--lines", "--spill-dir", ".", "--json", *more)
    expect(read("out") == lines_in_order(data), "wrong order: text %r... %s" % (data[:40], more))
    os.remove("out")
    os.remove("text")
    return json.loads(out)


def test_lines():
    for data in (b"", b"\n", b"a", b"a\n", b"\n\n", b"\na", b"b\na", b"b\na\n", b"a\0\na\na\0\0",
                 b"\0", b"\0\n\n", b"a\r\na\n", b"\xff\n\x7f\n\x80",
                 b"z" * 300000 + b"\n" + b"y" * 9, b"same\n" * 3 + b"same"):
        sorts_lines(data, "--check")
        if not SANITIZED:
            sorts_lines(data, "--mem", "4M")
    for kind in ("empty", "bytes", "long", "alike", "same"):
        for size in (50000, 3000000 // SHRINK):
            data = a_text(kind, size)
            if RANDOM.randrange(2):
                data = data.rstrip(b"\n") + b"x"
            report = sorts_lines(data, "--mem", "4M", *RANDOM.choice((["--check"], [])))
            expect(report["lines"] is True and report["records"] == data.count(b"\n") +
                   (not data.endswith(b"\n")), "the lines of the report")
    write("text", a_text("bytes", 400000) + b"no newline")
    out, _ = run("text", "-o", "out", "--lines", "--compare", "--json")
    expect(json.loads(out)["compare"]["identical"] is True, "GNU sort differs on lines")
    refused(1, "can never fit", "text", "-o", "out", "--lines", "--mem", "4M", before=a_long_line)


def a_long_line():
    with open("text", "wb") as file:
        file.write(b"x" * 5000000)


def a_spilling_run(*more):
    """24 MB in 8 MB: what comes of it."""
    out, _ = run("--demo", "24M", "--mem", "8M", "--dir", ".", "--json", *more)
    return json.loads(out)


def test_spilling():
    runs = (["--check", "--compare"], ["--skew", "--lines"], [], ["--skew"], ["--lines"],
            ["--skew", "--check", "--threads", "1"], ["--record", "4", "--key", "0:4"])
    for more in runs[:2] if SANITIZED else runs:
        report = a_spilling_run(*more)
        expect(report["spilled_bytes"] >= 24000000 - 8000000 and
               report["restored_bytes"] >= 24000000 - 8000000, "too little was spilled: %s" % more)
        expect(report["io"] in ("uring", "threads"), "how it was spilled: %r" % report["io"])
        expect(report["floor"]["spilled_bytes"] > 0, "the floor spills as well")
        expect(report["memory_bytes"] == 8000000, "the budget of the report")
        expect(report["peak_bytes"] <= 8000000 + OVERHEAD, "memory at the peak: %d" %
               report["peak_bytes"])
        if "--compare" in more:
            expect(report["compare"]["identical"] is True, "GNU sort differs")
    out, _ = run("--demo", "24M", "--mem", "8M", "--dir", ".")
    for part in ("spilled", "restored", "floor", "times that"):
        expect(part in out, "the text report lacks %r" % part)


def test_equal_keys_in_little_memory():
    data = b"".join(b"%-10d" % (i % 2) + b"%90d" % i for i in range(120000 // SHRINK))
    write("in", data)
    run("in", "-o", "out", "--mem", "4M", "--spill-dir", ".")
    expect(read("out") == in_order(data, 100, 0, 10), "two keys in little memory")
    os.remove("out")


def full_spill_dir(directory):
    """A small file system of its own, where we may mount one."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", directory],
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_full_spill_directory():
    os.mkdir("small")
    if not full_spill_dir("small"):
        print("no tmpfs can be mounted: a full spill directory was not tested")
        return
    try:
        write("in", RANDOM.randbytes(24000000))
        refused(1, "No space left on device", "in", "-o", "out", "--mem", "8M", "--spill-dir",
                "small")
        expect(os.listdir("small") == [], "a full spill directory was left with files")
    finally:
        subprocess.run(["umount", "small"], check=False)
        os.rmdir("small")


def memory_group():
    """A new memory control group of MEMORY_GROUP bytes, or None."""
    for line in read("/proc/self/cgroup").decode().splitlines():
        _, controllers, path = line.split(":", 2)
        base, limit = "/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes"
        if controllers == "":
            base, limit = "/sys/fs/cgroup" + path, "memory.max"
        if controllers in ("", "memory") and os.path.exists(base):
            group = "%s/weft-sort-test-%d" % (base, os.getpid())
            try:
                os.mkdir(group)
                with open(group + "/" + limit, "w", encoding="ascii") as file:
                    file.write(str(MEMORY_GROUP))
                return group
            except OSError:
                if os.path.exists(group):
                    os.rmdir(group)
    return None


def test_memory_group():
    group = None if SANITIZED else memory_group()
    if not group:
        print("no memory control group can be made: the peak was only read from the report")
        return

    def enter():
        with open(group + "/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))

    try:
        out, _ = run("--demo", "90M", "--mem", "16M", "--dir", ".", "--json", before=enter)
        expect(json.loads(out)["spilled_bytes"] > 0, "nothing was spilled in the group")
        write("in", RANDOM.randbytes(2000000))
        out, _ = run("in", "-o", "out", "--json", before=enter)
        expect(read("out") == in_order(read("in"), 100, 0, 10), "a sort in what a group leaves")
        budget = json.loads(out)["memory_bytes"]
        expect(budget <= MEMORY_GROUP // 2, "%d bytes of a group of %d" % (budget, MEMORY_GROUP))
    finally:
        os.rmdir(group)


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def interrupted(signal_number, arguments, reached, may_end=False):
    """Send a signal as soon as `reached(pid)`; no file and no process is left. `may_end`: it may
    be too late for that by then."""
    before = sorted(os.listdir("."))
    with subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(signal_number, signal.SIG_DFL)
                          ) as process:
        while process.poll() is None and not reached(process.pid):
            pass
        expect(may_end or process.poll() is None, "%s ended before it was interrupted" % arguments)
        started = children(process.pid)
        process.send_signal(signal_number)
        _, error = process.communicate(timeout=LIMIT_S)
        if not may_end or process.returncode:
            expect(process.returncode == 130, "interrupted: exit %d: %s" %
                   (process.returncode, error))
            expect(error == b"weft-sort: interrupted\n", "interrupted: %r" % error)
    expect(sorted(os.listdir(".")) == before, "an interrupted run left %s" % os.listdir("."))
    expect(not any(os.path.exists("/proc/" + child) for child in started), "a child lives on")


def has_written(least):
    """Whether a process has written so much to its files: then it is that far."""
    def reached(pid):
        try:
            with open("/proc/%d/io" % pid, encoding="ascii") as file:
                return int(file.read().split("wchar: ")[1].split()[0]) >= least
        except (OSError, IndexError):
            return False
    return reached


def test_interruption():
    def begun(_):
        try:
            return any(name.startswith(".weft-sort-") and os.stat(name).st_size for name in
                       os.listdir("."))
        except FileNotFoundError:  # it went meanwhile
            return False

    arguments = ["--demo", "500M", "--dir", "."]
    interrupted(signal.SIGINT, arguments, begun)
    interrupted(signal.SIGTERM, arguments, begun)
    interrupted(signal.SIGHUP, arguments, begun)
    with subprocess.Popen([PROGRAM, "--demo", "2M", "--dir", ".", "--quiet"],
                          preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
                          ) as process:  # as by nohup
        while process.poll() is None and not begun(None):
            pass
        process.send_signal(signal.SIGHUP)
        expect(process.wait(timeout=LIMIT_S) == 0, "an ignored signal has ended a run")
    # It writes its input, its output, and at the end the floor's: 24 MB each. The second is
    # between the input and the output, the fourth at the end of the output.
    for least in (24, 30) if SANITIZED else (10, 24, 30, 47.9, 55):
        interrupted(signal.SIGINT, ["--demo", "24M", "--mem", "8M", "--dir", "."],
                    has_written(least * 1000000), may_end=least > 40)
    if os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        interrupted(signal.SIGTERM, ["--demo", "20M", "--dir", ".", "--compare"], children)


def main():
    os.environ.pop("TMPDIR", None)
    os.environ.pop("WEFT_GPU", None)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for test in (test_sizes_and_keys, test_output_names, test_usage, test_failures,
                     test_reports, test_gpu, test_demo_keeps_what_it_is_told_to,
                     test_gnu_sort_agrees,
                     test_lines, test_spilling, test_equal_keys_in_little_memory,
                     test_full_spill_directory, test_memory_group, test_interruption):
            test()
        os.chdir("/")
    print("passed")


main()
