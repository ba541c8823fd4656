/* SPDX-License-Identifier: MIT */
/*
 * The bounds of the engine's memory, all in one place. What is not used is not
 * touched, and so is address space only.
 */
#ifndef ENGINE_BOUNDS_H
#define ENGINE_BOUNDS_H

enum {
	/* Threads that move packets. */
	WORKERS_DEFAULT = 4,
	WORKERS_MAX = 8,
	/* Slots of each lane for each of them: batches in flight. */
	SLOTS_PER_WORKER = 2,
	/* Messages that leave in a batch. */
	OUTBOUND_MESSAGES = 128,
	/* Bytes of a batch that leaves: two super-packets, and the longest
	 * packet that there is. */
	OUTBOUND_SLAB_LEN = 192 << 10,
	/* Frames read from the TUN for one batch, also those that drop. */
	OUTBOUND_READS = 256,
	/* Peers that wait for a flush or a keepalive. */
	OUTBOUND_REQUESTS = 16384,
	/* Messages that one system call receives: few if they are trains of up
	 * to 64 KiB, all if they are single datagrams. See ug_receiver_new(). */
	INBOUND_TRAINS = 64,
	/* Datagrams of a batch; what is left comes in the next one. */
	INBOUND_MESSAGES = 1024,
	/* Sources that a thread runs: lanes with what makes them ready. */
	SOURCES_MAX = 8,
	/* Side sockets of each family. So many slow peers at a time are kept
	 * apart from all others, and from each other. */
	SIDE_SOCKETS = 4,
	/* Messages of the handshake that wait: about 300 bytes each. */
	HANDSHAKE_RING = 1024,
	/* If so many messages wait, there is load. The load lasts for a second
	 * after that. At 35 us each, the last of these messages waits 18 ms. */
	HANDSHAKE_LOADED = HANDSHAKE_RING / 2,
	/* If so many key agreements within a second came to nothing, there is
	 * load, too. At 35 us each, they take 44 % of a core. Load delays each
	 * newcomer by REKEY_TIMEOUT: see handshaker.h. */
	AGREEMENTS_FAILED = 12500,
	/* The same bound while the other threads are busy: then a flood takes
	 * CPU time that sessions need. At 35 us each, 18 % of a core. */
	AGREEMENTS_FAILED_BUSY = 5000,
	/* CPU share, in percent of a core, above which all other threads
	 * together count as busy. A flood of 10,000 messages a second that are
	 * dropped on arrival takes about 5 %. */
	OTHERS_BUSY = 25,
	/* How long the load by AGREEMENTS_FAILED lasts, in seconds. Under load no
	 * key agreements are counted. With one second, a flood of 20,000
	 * messages a second would still cause 7,700 key agreements a second. */
	LOADED_BY_FAILED_S = 5,
	/* Above this only those whose source is no forged one. */
	HANDSHAKE_CROWDED = HANDSHAKE_RING / 4 * 3,
	/* Peers that wait for an initiation to be sent. */
	HANDSHAKE_INITIATIONS = 16384,
};

#endif /* ENGINE_BOUNDS_H */
