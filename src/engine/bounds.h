/* SPDX-License-Identifier: MIT */
/*
 * All bounds of the engine's memory, and of its load. Memory that is allocated
 * but never written to is only address space: the kernel adds a page when the
 * page is written to.
 */
#ifndef ENGINE_BOUNDS_H
#define ENGINE_BOUNDS_H

enum {
	/* Threads that move packets. The first number is the most that are
	 * started without the option --workers. By the calculation in
	 * docs/performance.md, more than four make a receiving lane no faster,
	 * and a sending one at most 1.3 times. The second number is the most
	 * that --workers may ask for: a choice, not measured. */
	WORKERS_DEFAULT = 4,
	WORKERS_MAX = 8,
	/* Slots of each lane for each such thread; a slot holds a batch. One is
	 * worked on while another waits for its turn to be committed. With one
	 * slot a stream takes 0.8 % less CPU, which is within noise. */
	SLOTS_PER_WORKER = 2,
	/* Messages of an outbound batch. With 32 or 64, 64 flows carried 2 to
	 * 10 % fewer datagrams in five of six runs. */
	OUTBOUND_MESSAGES = 128,
	/* The same if there are several outbound lanes. Of one peer, less than
	 * 512 messages are on their way: so eight threads can have a batch. */
	OUTBOUND_SHARED_MESSAGES = 64,
	/* Bytes of an outbound batch: about three packets of 64 KiB, the
	 * longest that the TUN hands out. A choice: OUTBOUND_MESSAGES messages
	 * of the usual MTU have 182 KiB. */
	OUTBOUND_SLAB_LEN = 192 << 10,
	/* Steps in which an outbound batch is filled. In a step a packet is
	 * read from the TUN, a request is served, or a packet is cut. A small
	 * packet takes two steps, so OUTBOUND_MESSAGES of them fill a batch.
	 * Packets without a peer make no message, and must not hold up the
	 * thread: the bound ends the batch. */
	OUTBOUND_READS = 256,
	/* Peers that wait until their staged packets, or a keepalive, leave. A
	 * choice: a place takes 16 bytes. */
	OUTBOUND_REQUESTS = 16384,
	/* Messages that one system call receives at most. While the messages
	 * are long, because the kernel has merged datagrams, a call receives
	 * fewer: see ug_receiver_new(). A choice: with 16 datagrams each, they
	 * fill an inbound batch. */
	INBOUND_TRAINS = 64,
	/* Datagrams of an inbound batch. The next batch takes the datagrams
	 * that the call received beyond that. A choice. */
	INBOUND_MESSAGES = 1024,
	/* The most queues of the TUN (--queues), and the most that it has without
	 * the option. A choice: as many as threads. */
	QUEUES_MAX = 8,
	/* Sources that a thread runs: lanes with what makes them ready. For each
	 * queue of the TUN there are three: the queue, and both families of a
	 * UDP socket. The worker notes sources as bits of 32. */
	SOURCES_MAX = 3 * QUEUES_MAX,
	/* Side sockets of each family. This is how many slow peers at a time
	 * are kept apart from all other peers, and from each other. A choice:
	 * each of them is one more socket with buffers of its own. */
	SIDE_SOCKETS = 4,
	/* Handshake messages that wait for the handshaker, of about 300 bytes
	 * each. A choice: at 35 us each, a full ring takes 36 ms. */
	HANDSHAKE_RING = 1024,
	/* If this many messages wait, load begins, or goes on for another
	 * second. A message takes 35 us, so the last of these waits 18 ms. */
	HANDSHAKE_LOADED = HANDSHAKE_RING / 2,
	/* If this many key agreements within a second were for messages that
	 * were then dropped, load begins, too. At 35 us each, they take 44 % of
	 * a core. Load delays each newcomer by REKEY_TIMEOUT: see handshaker.h.
	 */
	AGREEMENTS_FAILED = 12500,
	/* The same bound while the other threads are busy: then a flood takes
	 * CPU time that sessions need. These key agreements take 18 % of a
	 * core. */
	AGREEMENTS_FAILED_BUSY = 5000,
	/* CPU share, in percent of a core, above which the threads other than
	 * the handshaker, taken together, count as busy. A flood of 10,000
	 * messages a second that are dropped on arrival takes about 5 %. */
	OTHERS_BUSY = 25,
	/* How long load lasts, in seconds, if key agreements began it. During
	 * load no key agreements are counted, so the count begins at 0 again
	 * when load ends. If load lasted one second, a flood of 20,000 messages
	 * a second would cause AGREEMENTS_FAILED key agreements in 0.6 s, then
	 * hardly any for one second, and so on: 7,700 a second. */
	LOADED_BY_FAILED_S = 5,
	/* If this many messages wait, only a message whose sender has proved
	 * its address gets a place: see handshaker.h. A choice: a quarter of
	 * the ring is kept for such messages. */
	HANDSHAKE_CROWDED = HANDSHAKE_RING / 4 * 3,
	/* Rounds that the handshaker still does when a pause begins. A choice: a
	 * round takes some 70 us, and usually there is nothing to do. */
	HANDSHAKE_LAST_ROUNDS = 4,
	/* Peers that wait until the handshaker sends them an initiation. A
	 * choice: a place takes 8 bytes. */
	HANDSHAKE_INITIATIONS = 16384,
};

#endif /* ENGINE_BOUNDS_H */
