/*
 * queue.h: the door of the queue room. Moves pointers, knows no tasks.
 *
 *   deque.h     split deque: one owner pushes and pops the new end, thieves take the old end
 *   injector.h  unbounded FIFO, many producers, many consumers
 *   mpsc.h      intrusive list, many producers, one consumer
 *   parker.h    one thread's sleep
 */
#ifndef WF_QUEUE_H
#define WF_QUEUE_H

#include "deque.h"
#include "injector.h"
#include "mpsc.h"
#include "parker.h"

#endif /* WF_QUEUE_H */
