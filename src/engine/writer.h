/* SPDX-License-Identifier: MIT */
/*
 * A writer: it writes the packets of inbound lanes to one queue of the TUN.
 *
 * A write takes longer than all else that an inbound lane does in order. So it
 * is not done under the lane's right to commit. The thread that has this right
 * only pushes batches, which the writer keeps in a list. Later, without that
 * right, threads call writer_run(). One of them at a time has the right to
 * write. It writes all batches of the list, whichever lanes they come from. A
 * thread that does not get the right goes on with other work.
 *
 * Order. Batches are written in the order in which they were pushed. A lane
 * pushes in the order of its tickets. The packets of an inner flow come by one
 * lane and go to one queue, so they keep their order. Batches of two lanes may be
 * written in any order.
 *
 * No batch is left lying. A thread that has pushed calls writer_run() after it. All
 * accesses to the list and to the right are sequentially consistent. So either
 * the thread finds the right free, or the thread that has the right sees the
 * batch when it looks at the list once more, after it has let go of the right.
 *
 * Delays. A thread that loses its processor between pushing and writing delays
 * nobody: the next thread that calls writer_run() writes its batches, too. A
 * thread that loses its processor while it writes delays the batches behind its
 * own: nothing may overtake them. Other threads go on until the slots of the
 * lanes are all in use. Then these lanes take nothing for a while. Lanes that go
 * to another queue are not concerned. If the queue does not take a packet, the
 * packet is dropped, and nothing waits.
 *
 * Load. If other threads push faster than one thread writes, that thread would
 * write for ever. It would not come back to its loop, where it hears of new
 * sockets, and where others see that it makes progress. So after WRITER_TURN batches
 * in a row the lanes of the writer take nothing until all is written
 * (writer_is_behind()).
 *
 * Legend: [I] immutable after writer_init(), [a] atomic, [m] under @mutex, [w]
 * belongs to the thread that has the batch.
 */
#ifndef ENGINE_WRITER_H
#define ENGINE_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/source.h"
#include "tun/tun.h"

enum {
	/* Batches that a thread writes in a row before others have to wait. A choice:
	 * at 26 us for a super-packet of 64 KiB, these take 27 ms, and to begin anew
	 * takes a hundredth of that. */
	WRITER_TURN = 1024,
};

/**
 * struct writer_batch - packets of a batch that go to one queue
 * @merge:	[w] the packets; their bytes are the owner's
 * @done:	[I] the packets are written or dropped, and the owner has the
 *		struct and the bytes again; any thread calls it
 * @arg:	[I] for @done
 * @next:	[w] the batch that was pushed before this one
 *
 * The owner has it until writer_push(), then the writer has it.
 */
struct writer_batch {
	struct merge merge;
	void (*done)(void *arg);
	void *arg;
	struct writer_batch *next;
};

/**
 * struct writer - a queue of the TUN, for all lanes that write to it
 * @tun:	[I] the queue; its members for writing are under the right to write
 * @reader:	[I] the source that reads the same queue; if a write finds that
 *		the TUN is gone, this source is marked as gone
 * @mutex:	held while a batch is begun, and while the ports of tunnel
 *		devices are set; a leaf
 * @pushed:	[a] the batch that was pushed last, or NULL
 * @is_writing:	[a] the right to write: true if a thread has it
 * @is_behind:	[a] for writer_is_behind()
 */
struct writer {
	struct tun *tun;
	struct source *reader;
	pthread_mutex_t mutex;
	struct writer_batch *_Atomic pushed;
	_Atomic bool is_writing;
	_Atomic bool is_behind;
};

/**
 * writer_init() - a writer without batches
 * @w:		caller's storage
 * @tun:	borrowed until writer_deinit()
 * @reader:	borrowed until writer_deinit()
 */
void writer_init(struct writer *w, struct tun *tun, struct source *reader);

/* writer_deinit() - all threads have returned from writer_run() */
void writer_deinit(struct writer *w);

/* writer_begin() - empty a batch, so that packets can be added. Any thread that has
 * the batch. */
void writer_begin(struct writer *w, struct writer_batch *batch);

/**
 * writer_push() - have a batch written, behind all that were pushed before
 * @w:		writer
 * @batch:	batch of writer_begin(); the caller does not touch it any more
 *
 * This does not wait, whatever the other threads do. Any thread; it calls
 * writer_run() soon, when it has no right of a lane.
 */
void writer_push(struct writer *w, struct writer_batch *batch);

/**
 * writer_run() - write all that was pushed, unless another thread does so
 * @w:		writer
 *
 * Any thread.
 */
void writer_run(struct writer *w);

/* writer_is_behind() - shall nothing more be taken for this writer for a while? Any
 * thread. */
static inline bool writer_is_behind(const struct writer *w)
{
	/* Partner: writer_run(). The answer says nothing about other memory. */
	return atomic_load_explicit(&w->is_behind, memory_order_relaxed);
}

/* writer_set_overlays() - the ports of the kernel's tunnel devices. Any thread. */
void writer_set_overlays(struct writer *w, const struct overlays *overlays);

#endif /* ENGINE_WRITER_H */
