#!/usr/bin/env python3
"""Planted bugs in promise.h and suspend.c: each must be found by its model test.

Goal: the scenarios of promise.c and wait.c are worth their name. Method: as mutate.py: one or two
lines of a copy are weakened, the test is built against the copy and must fail with a schedule;
the copy with nothing planted must pass. A text that no longer occurs exactly once is an error.

Usage: tests/model/mutate_task.py [substring of a description]. Compiler from CC (default cc).
"""
import os
import shutil
import sys

import planted

ROOMS = ["engine", "engine/base", "engine/task", "engine/sched", "engine/queue", "engine/fiber",
         "engine/actor", "engine/gpu", "engine/include", "tests/support"]
FILES = {"mailbox": "engine/actor/mailbox.h",
         "promise": "engine/task/promise.h", "wait": "engine/sched/suspend.c"}
SOURCES = {"mailbox": [], "promise": [], "wait": ["engine/queue/deque.c", "engine/queue/parker.c"]}
# No planted bug of the list needs more, and what is not found would take minutes.
BOUND = {"mailbox": "2", "promise": "3", "wait": "2"}
TIME_LIMIT_S = 200

# (model test, what is planted, [(old text, new text), ...])
MUTATIONS = [
    ("mailbox", "nothing", []),
    ("mailbox", "the lock is a load and a store",
     [("!wf_cas_acquire(&box->word, &word, word | WF_BOX_LOCK);",
       "wf_store_release(&box->word, word | WF_BOX_LOCK), false;")]),
    ("mailbox", "the lock is taken when it is held",
     [("\tuint32_t word = wf_load_relaxed(&box->word) & ~WF_BOX_LOCK;",
       "\tuint32_t word = wf_load_relaxed(&box->word);")]),
    ("mailbox", "a post does not look whether it is closed",
     [("\tif (word & WF_BOX_CLOSED)\n\t\treturn WF_POST_CLOSED;\n", "")]),
    ("mailbox", "a post runs before it is open",
     [("(word & (WF_BOX_OPEN | WF_BOX_CRASH)) != WF_BOX_OPEN || ", "")]),
    ("mailbox", "a post makes a turn beyond the limit",
     [("group->active >= group->limit", "group->active > group->limit")]),
    ("mailbox", "a post makes no turn", [("group->active >= group->limit", "1")]),
    ("mailbox", "an exclusive call is handed and queued",
     [("\t\tbox->handed = mail;\n",
       "\t\tbox->handed = mail;\n\t\twf_call_group_append(group, mail);\n")]),
    ("mailbox", "an append forgets the tail",
     [("\t\tgroup->head = mail;\n\tgroup->tail = mail;\n", "\t\tgroup->head = mail;\n")]),
    ("mailbox", "a fetch leaves the tail of an empty queue",
     [("\tif (!group->head)\n\t\tgroup->tail = NULL;\n", "")]),
    ("mailbox", "a fetch does not end its chain", [("\tlast->next = NULL;\n", "")]),
    ("mailbox", "a turn that leaves is still counted", [("\tgroup->active--;\n", "")]),
    ("promise", "nothing", []),
    ("promise", "the private completer does not look at the list",
     [("if (WF_LIKELY(!wf_load_relaxed(&p->waiters)))", "if (1)")]),
    ("promise", "the private completer looks before it stores",
     [("\twf_store_release(&p->state, WF_STATE_DONE);\n",
       "\tuintptr_t seen = wf_load_relaxed(&p->waiters);\n"
       "\twf_store_release(&p->state, WF_STATE_DONE);\n"),
      ("if (WF_LIKELY(!wf_load_relaxed(&p->waiters)))", "if (!seen)")]),
    ("promise", "a stranger pushes and does not look again",
     [("\t\t\t*taken = wf_promise_close(p);\n", "\t\t\t*taken = 0;\n")]),
    ("promise", "a stranger looks before it pushes",
     [("\t*taken = 0;\n",
       "\t*taken = 0;\n\tbool early = wf_load_acquire(&p->state) == WF_STATE_DONE;\n"),
      ("\t\tif (wf_load_acquire(&p->state) == WF_STATE_DONE)\n\t\t\t*taken",
       "\t\tif (early)\n\t\t\t*taken")]),
    ("promise", "close takes a list that is being unlinked",
     [("\t\t\treturn 0;\n\t\tif (old & WF_W_LOCKED) {", "\t\t\treturn 0;\n\t\tif (0) {")]),
    ("promise", "close leaves the list open",
     [("wf_cas_acq_rel(&p->waiters, &old, WF_W_CLOSED)", "wf_cas_acq_rel(&p->waiters, &old, 0)")]),
    ("promise", "close is a load and a store",
     [("\t\tif (wf_cas_acq_rel(&p->waiters, &old, WF_W_CLOSED))\n",
       "\t\tif (wf_store_release(&p->waiters, WF_W_CLOSED), 1)\n")]),
    ("promise", "close forgets the orphan",
     [("WF_W_CLOSED))\n\t\t\treturn old;\n",
       "WF_W_CLOSED))\n\t\t\treturn old & ~WF_W_ORPHAN;\n")]),
    ("promise", "removal does not lock",
     [("if (wf_cas_acquire(&p->waiters, &old, old | WF_W_LOCKED))\n\t\t\tbreak;",
       "if (1)\n\t\t\tbreak;")]),
    ("promise", "a removed node stays on the list", [("\t\t\t*at = node->next;\n", "")]),
    ("promise", "a count is dropped by a load and a store",
     [("\treturn wf_add_acq_rel(&p->refs, (uint32_t)-1) == 0;\n",
       "\tuint32_t left = wf_load_relaxed(&p->refs);\n"
       "\twf_store_release(&p->refs, left - 1);\n\treturn left == 0;\n")]),
    ("promise", "the last count is found by a second look",
     [("\treturn wf_add_acq_rel(&p->refs, (uint32_t)-1) == 0;\n",
       "\twf_add_acq_rel(&p->refs, (uint32_t)-1);\n"
       "\treturn wf_load_acquire(&p->refs) == (uint32_t)-1;\n")]),

    ("wait", "nothing", []),
    ("wait", "a fiber is made ready before it is parked",
     [("\t\tif (old == WF_WAIT_PARKED)\n", "\t\tif (1)\n")]),
    ("wait", "a fiber that is parked is not made ready",
     [("\t\tif (old == WF_WAIT_PARKED)\n", "\t\tif (old == WF_WAIT_ARMING)\n")]),
    ("wait", "the commit does not see that the wait has ended",
     [("\t\tif (!wf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED))\n"
       "\t\t\twf_ready_fiber(self, from);\n",
       "\t\twf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED);\n")]),
    ("wait", "the commit overwrites what has ended the wait",
     [("\t\tif (!wf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED))\n"
       "\t\t\twf_ready_fiber(self, from);\n",
       "\t\tif (wf_load_relaxed(&wait->phase) == arming)\n"
       "\t\t\twf_store_release(&wait->phase, WF_WAIT_PARKED);\n"
       "\t\telse\n\t\t\twf_ready_fiber(self, from);\n")]),
    ("wait", "two may end one wait",
     [("while (!wf_cas_acq_rel(&wait->phase, old, WF_WAIT_FIRED + ((uint32_t)reason << 8)))",
       "while (wf_store_release(&wait->phase, WF_WAIT_FIRED + ((uint32_t)reason << 8)), 0)")]),
    ("wait", "the sleeper leaves while a firer is inside",
     [("\t\twhile (!wf_load_acquire(&node->fired))\n\t\t\twf_cpu_relax();\n", "")]),
    ("wait", "a node is let go before the wait is claimed",
     [("\tuint32_t old = 0;\n\t/* acq_rel [F2]",
       "\tuint32_t old = 0;\n\twf_store_release(&node->fired, 1);\n\t/* acq_rel [F2]")]),
    ("wait", "the timer keeps a wait that is over",
     [("\tif (wait->timed)\n\t\twf_timer_remove(wait);\n", "")]),
    ("wait", "nodes that did not fire stay on their lists",
     [("\t\tif (wf_promise_remove(&node->cell->promise, &node->waiter))\n\t\t\tcontinue;\n",
       "\t\tif (1)\n\t\t\tcontinue;\n")]),
    ("wait", "a cancel request is looked for before the wait is published",
     [("\tuser->wait = wait->uninterruptible ? NULL : wait;\n", ""),
      ("\tfiber_unlock(user);\n\n\tint rc = 0;\n",
       "\tfiber_unlock(user);\n\tfiber_lock(user);\n\tuser->wait = wait;\n"
       "\tfiber_unlock(user);\n\n\tint rc = 0;\n")]),
    ("wait", "a canceller does not lock the fiber", [
        ("\tfiber_lock(user);\n\tif (user->wait &&", "\tif (user->wait &&"),
        ("\t\twf_wait_wake(user->wait, WF_WAKE_CANCEL, self);\n\tfiber_unlock(user);\n}",
         "\t\twf_wait_wake(user->wait, WF_WAKE_CANCEL, self);\n}")]),
    ("wait", "the last of several firers is found by a second look",
     [("bool last = wf_add_acq_rel(&wait->need, (uint32_t)-1) == 1;",
       "wf_add_acq_rel(&wait->need, (uint32_t)-1);\n"
       "\tbool last = wf_load_acquire(&wait->need) == 1;")]),
]


def attempt(scratch, mutation):
    test, _, edits = mutation
    shutil.copy(os.path.join(planted.ROOT, "tests", "model", test + ".c"), scratch)
    # cell.h includes promise.h from beside itself, so it must lie beside the copy.
    for name in ("cell.h", "slab.h"):
        shutil.copy(os.path.join(planted.ROOT, "engine", "task", name), scratch)
    why = planted.plant(os.path.join(planted.ROOT, FILES[test]), scratch, edits)
    if why:
        return None, why
    files = [os.path.join(scratch, test + ".c")]
    files += [os.path.join(planted.ROOT, source) for source in SOURCES[test]]
    return planted.verdict(scratch, ROOMS, files, TIME_LIMIT_S, BOUND[test])


if __name__ == "__main__":
    sys.exit(planted.main(MUTATIONS, attempt))
