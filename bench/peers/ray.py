#!/usr/bin/env python3
"""ray.py: Ray on the rows of its own names, where Python has it; the protocol is engine.h's.

Sizes are those of rows/ray.c and rows/ray_envelope.c, or smaller where Ray would take minutes: all
of them with WEFT_BENCH_LONG=1. Exit status 77 where there is no Ray or no such row, and in tiny
runs without WEFT_BENCH_RAY=1. Without NumPy the rows of large objects are missing.
"""
import os
import sys
import time

NO_ROW = 77
BATCH = 1000
MIB = 1 << 20
# This file has the name of what it imports.
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(
    os.path.abspath(__file__))]


def env(name):
    return os.environ.get(name, "0") not in ("", "0")


TINY, LONG = env("WEFT_BENCH_TINY"), env("WEFT_BENCH_LONG")
ray = np = None


def pick(full, tiny, usual=None):
    """The size; `usual` is that of a run that is neither tiny nor long."""
    return tiny if TINY else full if LONG or usual is None else usual


def oks(values):
    return sum(v == b"ok" for v in values)


def small_value():
    return b"ok"


class Server:
    def small_value(self):
        return b"ok"

    def small_value_arg(self, x):
        return b"ok" if 0 <= x <= BATCH else b""


class AsyncServer:
    async def small_value(self):
        return b"ok"

    async def small_value_arg(self, x):
        return b"ok" if 0 <= x < BATCH else b""


class Client:
    """Calls `n` times each of its actors, or as many tasks."""

    def __init__(self, servers):
        self.servers = servers

    def burst(self, n):
        return oks(ray.get([s.small_value.remote() for s in self.servers for _ in range(n)]))

    def burst_arg(self, n):
        x = ray.put(BATCH)
        return oks(ray.get([s.small_value_arg.remote(x) for s in self.servers for _ in range(n)]))

    def burst_tasks(self, n):
        task = ray.remote(small_value)
        return oks(ray.get([task.remote() for _ in range(n)]))




def measure(calls, ops, call):
    """calls times call(i), each of `ops` operations, gives how many were right."""
    def repetition():
        begin = time.perf_counter_ns()
        good = sum(call(i) for i in range(calls))
        return time.perf_counter_ns() - begin, calls * ops, good
    return repetition


# ---- Values

def get_row():
    ref = ray.put(BATCH)
    return measure(pick(10000, 10), 1, lambda i: ray.get(ref) == BATCH)


def put_call(i):
    ref = ray.put(i)
    return i % 64 != 0 or ray.get(ref) == i


def put_row():
    return measure(pick(5000, 10), 1, put_call)


def put_multi_row():
    @ray.remote
    def put_many():
        return sum(put_call(i) for i in range(100))
    return measure(pick(5, 1), 1000, lambda i: sum(ray.get([put_many.remote()
                                                            for _ in range(10)])))


def put_large_row():
    mib = pick(800, 8)
    zeros = np.zeros(mib * MIB // 8, dtype=np.int64)

    def call(_):
        back = ray.get(ray.put(zeros))
        return mib * int(back.size == zeros.size and back[0] == 0 and back[-1] == 0)
    return measure(1, mib, call)


def put_large_n_row():
    mib, puts = pick(80, 1), pick(10, 1, 4)

    @ray.remote
    def put_many():
        good = 0
        for _ in range(puts):
            ref = ray.put(np.zeros(mib * MIB // 8, dtype=np.int64))
            good += int(ray.get(ref)[-1] == 0)
        return good * mib
    return measure(1, 10 * puts * mib, lambda i: sum(ray.get([put_many.remote()
                                                              for _ in range(10)])))


# ---- Tasks, waits, references in objects

def tasks(n):
    task = ray.remote(small_value)
    return lambda i: oks(ray.get([task.remote() for _ in range(n)]))


def tasks_batch_row():
    burst = tasks(BATCH)
    return measure(pick(5, 1), 1, lambda i: burst(i) == BATCH)


def tasks_async_row():
    return measure(pick(5, 1), BATCH, tasks(BATCH))


def tasks_sync_row():
    return measure(pick(1000, 10), 1, tasks(1))


def tasks_multi_row():
    n = pick(10000, 100, 2000)
    clients = [ray.remote(Client).options(num_cpus=0).remote([]) for _ in range(4)]
    return measure(1, 4 * n, lambda i: sum(ray.get([c.burst_tasks.remote(n) for c in clients])))


def wait_row():
    task = ray.remote(small_value)

    def call(_):
        left, taken = [task.remote() for _ in range(BATCH)], 0
        for i in range(BATCH):
            ready, left = ray.wait(left, fetch_local=i == 0)
            taken += len(ready)
        return taken == BATCH
    return measure(pick(5, 1), 1, call)


def get_refs_row():
    n = 10000

    @ray.remote
    def make_refs():
        return [ray.put(i) for i in range(n)]
    ref = make_refs.remote()

    def call(i):
        refs = ray.get(ref)
        return len(refs) == n and ray.get(refs[i]) == i
    return measure(pick(10, 1), 1, call)


# ---- Actors

def server(cls=Server, **options):
    # As in Ray's own: its async actors ask for what an actor does by default.
    if cls is Server:
        options["num_cpus"] = 0
    made = ray.remote(cls)
    return (made.options(**options) if options else made).remote()


def one_actor_row(calls, burst, cls=Server, **options):
    def row():
        a = server(cls, **options)
        return measure(calls, burst, lambda i: oks(ray.get([a.small_value.remote()
                                                            for _ in range(burst)])))
    return row


def args_row():
    a = server(AsyncServer)
    return measure(pick(5, 1), BATCH, lambda i: oks(ray.get([a.small_value_arg.remote(k)
                                                             for k in range(BATCH)])))


def one_to_many_row(cls):
    def row():
        n, count = pick(5000, 20, 500), pick(32, 2)
        client = ray.remote(Client).options(num_cpus=0).remote(
            [server(cls) for _ in range(count)])
        return measure(1, n * count, lambda i: ray.get(client.burst.remote(n)))
    return row


def many_to_many_row(cls):
    def row():
        n, count = pick(5000, 100), pick(32, 2)
        servers = [server(cls) for _ in range(count)]

        @ray.remote
        def work(actors):
            return oks(ray.get([actors[i % count].small_value.remote() for i in range(n)]))
        return measure(1, 4 * n, lambda i: sum(ray.get([work.remote(servers)
                                                        for _ in range(4)])))
    return row


def many_to_many_arg_row():
    n, count = pick(BATCH, 20, 200), pick(32, 2)
    clients = [ray.remote(Client).options(num_cpus=0).remote([server()]) for _ in range(count)]
    return measure(1, n * count, lambda i: sum(ray.get([c.burst_arg.remote(n)
                                                        for c in clients])))


def placement_row():
    from ray.util import placement_group, remove_placement_group

    def call(_):
        groups = [placement_group(bundles=[{"custom": 0.001}]) for _ in range(100)]
        good = sum(g.wait(timeout_seconds=30) for g in groups)
        for g in groups:
            remove_placement_group(g)
        return good
    return measure(1, 100, call)


# ---- Limits of a node

def args_envelope():
    n, ones = pick(10000, 50, 3000), 10000

    @ray.remote
    def sum_args(*args):
        return sum(sum(a) for a in args)

    def call(_):
        total = ray.get(sum_args.remote(*[[1] * ones for _ in range(n)]))
        return 0 if total % ones else total // ones
    return measure(1, n, call)


def returns_envelope():
    n, count = pick(3000, 30, 1000), 10000

    @ray.remote(num_returns=n)
    def many():
        return [list(range(i, i + count)) for i in range(n)]

    def call(_):
        return sum(ray.get(ref) == list(range(i, i + count)) for i, ref in
                   enumerate(many.remote()))
    return measure(1, n, call)


def get_envelope():
    n, count = pick(10000, 30, 3000), 10000

    def call(_):
        refs = [ray.put([i + 1] * count) for i in range(n)]
        good = sum(v == [i + 1] * count for i, v in enumerate(ray.get(refs)))
        refs = [ray.put(np.arange(i + 1, i + 1 + count)) for i in range(n)]
        return good + sum(int(v.size == count and v[0] == i + 1 and v[-1] == i + count)
                          for i, v in enumerate(ray.get(refs)))
    return measure(1, 2 * n, call)


def queued_envelope():
    n = pick(1000000, 200, 10000)
    cpus = int(ray.cluster_resources()["CPU"])

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self):
            import asyncio
            self.event = asyncio.Event()

        async def open(self):
            self.event.set()

        async def wait(self):
            await self.event.wait()

    @ray.remote
    def hold(gate):
        # A get would give the CPU back; a poll of another thread keeps it.
        import threading
        done = threading.Thread(target=lambda: ray.get(gate.wait.remote()))
        done.start()
        done.join()

    @ray.remote
    def same(i):
        return i

    def call(_):
        gate = Gate.remote()
        held = [hold.remote(gate) for _ in range(cpus)]
        refs = [same.remote(i) for i in range(n)]
        gate.open.remote()
        good = sum(ray.get(ref) == i for i, ref in enumerate(refs))
        ray.get(held)
        return good
    return measure(1, n, call)


def object_envelope():
    store = ray.cluster_resources()["object_store_memory"]
    mib = min(pick(100 * 1024, 16), int(store) // 2 // MIB)

    def call(_):
        zeros = np.zeros(mib * MIB, dtype=np.uint8)
        zeros[0], zeros[-1] = 3, 4
        back = ray.get(ray.put(zeros))
        return mib * int(back.size == zeros.size and back[0] == 3 and back[-1] == 4)
    return measure(1, mib, call)


ROWS = {
    "ray_get": get_row,
    "ray_put": put_row,
    "ray_put_multi": put_multi_row,
    "ray_put_large": put_large_row,
    "ray_put_large_n": put_large_n_row,
    "ray_tasks_batch": tasks_batch_row,
    "ray_tasks_sync": tasks_sync_row,
    "ray_tasks_async": tasks_async_row,
    "ray_tasks_multi": tasks_multi_row,
    "ray_get_10k_refs": get_refs_row,
    "ray_wait_1k": wait_row,
    "ray_actor_sync": one_actor_row(pick(1000, 10), 1),
    "ray_actor_async": one_actor_row(pick(5, 1), BATCH),
    "ray_actor_wide": one_actor_row(pick(5, 1), BATCH, max_concurrency=16),
    "ray_actor_1n": one_to_many_row(Server),
    "ray_actor_nn": many_to_many_row(Server),
    "ray_actor_nn_arg": many_to_many_arg_row,
    "ray_async_sync": one_actor_row(pick(1000, 10), 1, AsyncServer),
    "ray_async_async": one_actor_row(pick(5, 1), BATCH, AsyncServer),
    "ray_async_args": args_row,
    "ray_async_1n": one_to_many_row(AsyncServer),
    "ray_async_nn": many_to_many_row(AsyncServer),
    "ray_placement": placement_row,
    "ray_envelope_args": args_envelope,
    "ray_envelope_returns": returns_envelope,
    "ray_envelope_get": get_envelope,
    "ray_envelope_queued": queued_envelope,
    "ray_envelope_object": object_envelope,
}
NUMPY_ROWS = ("ray_put_large", "ray_put_large_n", "ray_envelope_get", "ray_envelope_object")


def main():
    global ray, np
    if len(sys.argv) != 4:
        print("usage: %s ROW THREADS REPS" % sys.argv[0], file=sys.stderr)
        return 2
    row, threads, reps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Its start takes longer than all of weft's tiny rows together.
    if row not in ROWS or (TINY and not env("WEFT_BENCH_RAY")):
        return NO_ROW
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray as ray_module
        if row in NUMPY_ROWS:
            import numpy as np
    except ImportError:
        return NO_ROW
    ray = ray_module
    # Figures go where they are read; what Ray says on stdout is for people.
    figures = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ray.init(num_cpus=threads, resources={"custom": 100}, include_dashboard=False,
             log_to_driver=False, logging_level="ERROR")
    try:
        repetition = ROWS[row]()
        for rep in range(0 if env("WEFT_BENCH_COLD") else -1, reps):
            ns, size, good = repetition()
            if rep >= 0:
                print("rep - %.6g %d %d" % (ns / size, size, good), file=figures, flush=True)
    finally:
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
