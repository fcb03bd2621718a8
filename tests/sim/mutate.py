#!/usr/bin/env python3
"""Plants bugs in the shipped engine, one at a time, each of which the simulation must find.

usage: mutate.py [NAME ...]; runs in the top of the tree; CC names the compiler. Exit 0 when every
bug was found and the untouched engine passes, else 1.
"""
import os
import shutil
import subprocess
import sys
import tempfile

SEEDS = os.environ.get("WEFT_SIM_SEEDS", "2000")
PROGRAMS = ("graph", "engine", "actors")
CFLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DWF_SIM", "-DWF_HAVE_HWLOC=0",
          "-DWF_HAVE_LIBURING=0", "-DXXH_INLINE_ALL", "-O1", "-g", "-w"]
FOLDERS = ["engine/base", "engine/queue", "engine/fiber", "engine", "engine/task", "engine/sched",
           "engine/actor", "engine/gpu", "engine/api", "engine/include", "store", "store/include",
           "tests/support", "tests/sim"]
WRAPS = ["pthread_create", "pthread_join", "pthread_self", "pthread_setname_np",
         "pthread_key_create", "pthread_setspecific", "pthread_mutex_lock",
         "pthread_mutex_unlock", "syscall", "clock_gettime", "getrandom", "sched_yield",
         "sigaltstack", "wf_malloc", "wf_calloc", "wf_aligned_alloc", "wf_free", "wf_map",
         "wf_unmap"]
# name: (file, what stands there, what is planted instead)
BUGS = {
    "a sleeping worker does not look again": (
        "engine/sched/worker.c",
        "if (anything(worker) || lone_grows_old(worker) || must_leave(worker))",
        "if (lone_grows_old(worker) || must_leave(worker))"),
    "a wait is parked though it has fired": (
        "engine/sched/suspend.c",
        "if (!wf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED))\n"
        "\t\t\twf_ready_fiber(self, from);",
        "wf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED);"),
    "the last registration goes in silence": (
        "engine/api/cq.c", "bool last = rc == 1 && !cq->item_count;", "bool last = false;"),
    "a queue's sleeper does not look again": (
        "engine/api/cq.c", "if ((wf_mpsc_is_empty(&cq->done) && !nothing_registered(cq)) ||",
        "if (true ||"),
    "blocking tasks wait for spares that wait": (
        "engine/sched/spare.c", "return bodies <= rt->blocking_count + rt->outside_asleep;",
        "return false;"),
    "a wake between the look and the sleep is lost": (
        "engine/queue/parker.c",
        "int rc = wf_futex_wait(&p->state, WF_PARKER_ASLEEP, until_ns);",
        "int rc = wf_futex_wait(&p->state, wf_load_relaxed(&p->state), until_ns);"),
    "a sleeper leaves before its firer": (
        "engine/sched/suspend.c",
        "while (!wf_load_acquire(&node->fired))\n\t\t\twf_cpu_relax();", ";"),
    "a timer is not taken back": (
        "engine/sched/suspend.c", "if (wait->timed)\n\t\twf_timer_remove(wait);", ""),
    "a cancel does not look for the wait": (
        "engine/sched/suspend.c",
        "\t\twf_wait_wake(user->wait, WF_WAKE_CANCEL, self);\n\tfiber_unlock(user);",
        "\t\t;\n\tfiber_unlock(user);"),
    "the sleeper does not look for a cancel": (
        "engine/sched/suspend.c", "if (!wait->uninterruptible && wf_self_cancelled(self))",
        "if (false)"),
    "an idle spare leaves although it was picked": (
        "engine/sched/spare.c",
        "if (wf_load_acquire(&thread->job) == WF_JOB_EXIT)\n\t\t\treturn false;", "return false;"),
    "a body beside the workers ends in silence": (
        "engine/sched/spare.c", "wf_service_ring(rt, WF_SERVICE_QUIET);", ";"),
    "the service sleeps on a fresh word": (
        "engine/sched/service.c", "wf_futex_wait(&rt->service_word, word,",
        "wf_futex_wait(&rt->service_word, wf_load_acquire(&rt->service_word),"),
    "what was fetched goes back in the wrong order": (
        "engine/actor/turn.c", "wf_call_group_prepend(turn->group, reversed);",
        "wf_call_group_append(turn->group, reversed);"),
    "a call does not wait for the one before it": (
        "engine/actor/call.c", "(info->row & WF_ROW_BEHIND ? 1 : 0)", "0"),
    "what an actor held is kept for ever": (
        "engine/actor/life.c", "wf_admit_let_go(self, kept);", "(void)kept;"),
    "a close does not ask actors to let go": (
        "engine/sched/open.c", "wf_actors_let_go(rt);", ";"),
    "a cancelled group leaves its actors": (
        "engine/task/group.c", "wf_actors_cancel_groups(self);", ";"),
}


def c_files(folder):
    return sorted(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".c"))


def sources():
    for folder in ("engine/base", "engine/queue", "engine/fiber", "engine/task", "engine/sched",
                   "engine/actor", "engine/gpu", "engine/api", "engine"):
        yield from (s for s in c_files(folder)
                    if not s.endswith(("switch_ucontext.c", "base/sim.c")))
    yield from (s for s in c_files("store") if not s.endswith("io_uring.c"))
    yield "engine/fiber/switch_x86_64.S"


def compile_one(cc, source, path, to):
    flags = CFLAGS + sum((["-I", f] for f in FOLDERS), [])
    if path != source:
        flags += ["-I", os.path.dirname(source)]
    subprocess.run([cc, *flags, "-c", path, "-o", to], check=True)


def found(cc, work, objects, programs=PROGRAMS):
    for test in programs:
        program = os.path.join(work, test)
        subprocess.run([cc, "-o", program, os.path.join(work, "test-%s.o" % test), *objects,
                        "-pthread", *("-Wl,--wrap=" + w for w in WRAPS)], check=True)
        run = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env={**os.environ, "WEFT_SIM_SEEDS": SEEDS})
        if run.returncode != 0:
            text = run.stdout.decode(errors="replace").split("\n")
            return next((line for line in text if "FAILED" in line or "check failed" in line or
                         "signal" in line), "no words")
    return None


def main(names):
    cc = os.environ.get("CC", "cc")
    if os.uname().machine != "x86_64":
        print("only where the switch is known")
        return 77
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        objects = {}
        for source in [*sources(), "tests/support/sim.c"]:
            objects[source] = os.path.join(work, source.replace("/", "_") + ".o")
            compile_one(cc, source, source, objects[source])
        for test in PROGRAMS:
            compile_one(cc, "", "tests/sim/%s.c" % test, os.path.join(work, "test-%s.o" % test))
        if not names and found(cc, work, objects.values()):
            print("the untouched engine fails")
            return 1
        for name, (source, old, new) in BUGS.items():
            if names and name not in names:
                continue
            with open(source) as f:
                text = f.read()
            if text.count(old) < 1:
                print("%s: %s has no such place" % (name, source))
                bad += 1
                continue
            path = os.path.join(work, "planted.c")
            with open(path, "w") as f:
                f.write(text.replace(old, new))
            planted = os.path.join(work, "planted.o")
            compile_one(cc, source, path, planted)
            # What is most likely to find it comes first.
            programs = PROGRAMS[::-1] if "actor" in source or "actors" in name else PROGRAMS
            how = found(cc, work, [planted if s == source else o for s, o in objects.items()],
                        programs)
            print("%s: %s" % (name, how if how else "NOT FOUND"), flush=True)
            bad += how is None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
