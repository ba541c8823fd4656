/* SPDX-License-Identifier: MIT */
/*
 * The journal: what a process must know that goes on for this one after its death.
 * It is kept in memory with a descriptor (journal/store.h), which another process
 * holds. It has two parts:
 *
 *  - records: the accepted changes of the configuration, as the lists of
 *    device/config.h. They are not kept as the text of the UAPI, because the text is
 *    longer, and reading it again would need a second parser that may refuse what the
 *    first one has taken; a list is checked by the functions that make lists.
 *  - slots: one for each peer, with its endpoint, whether there is a session, the
 *    timestamps of handshakes, the counters, and the time of the last handshake.
 *
 * A change is accepted in three steps. Its record is written but not valid yet, and
 * that may fail. The change is applied, and that may fail. Then the record is made
 * valid, which cannot fail. So journal_apply() returns 0 only for a change that the
 * next process will find, and after an error there is no trace of it. If this process
 * dies in between, nobody was told that the change was accepted.
 *
 * The slots are written at once for timestamps: an initiation leaves, and one is
 * answered, only after its timestamp was noted. A process without these timestamps
 * would take an old, recorded initiation for a new one, and the peer would lose its
 * endpoint to whoever sent it. The other members are noted together with timestamps,
 * whenever an endpoint is learnt, and whenever the control thread looks at the
 * peer's timers, which it does every ten seconds while there is traffic. After a death
 * the counters lack the bytes that have passed since the last of these notes.
 *
 * The memory of a journal cannot grow. If it is full, its configuration as it is now
 * is written to another one, with half as much room again for what comes, and the
 * holder of the descriptor is told to keep that instead.
 *
 * Threads. The control thread calls all functions. The functions of
 * struct device_recorder are called by any thread; a mutex guards the slots. It is
 * taken before noise_handshake.lock.
 */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include <stdint.h>

#include "crypto/secret.h"
#include "device/config.h"
#include "device/device.h"

enum {
	/* The least number of slots, and of bytes for further records. Choices:
	 * together less than 64 KiB. */
	JOURNAL_MIN_SLOTS = 32,
	JOURNAL_MIN_SPARE = 44 * 1024,
};

/**
 * struct journal_ops - functions of the owner
 */
struct journal_ops {
	/**
	 * @keep:	keep this descriptor instead of the last one; it is borrowed
	 *		for the call
	 *
	 * Called on the control thread, with the mutex of the journal held: the
	 * handshaker waits meanwhile.
	 *
	 * Return: 0: the next process will get this descriptor; -errno: it will
	 * get the last one.
	 */
	int (*keep)(void *arg, int fd);
};

struct journal;

/**
 * journal_new() - a journal without memory
 * @device:	device that no other thread uses yet; borrowed until journal_free()
 * @ops:	borrowed until journal_free()
 * @arg:	for @ops
 * @backing:	SECRET_PRIVATE: do not use memfd_secret(2)
 *
 * The journal becomes the device's recorder. Nothing is recorded before
 * journal_start().
 *
 * Return: the journal; NULL if memory is short.
 */
struct journal *journal_new(struct device *device,
			    const struct journal_ops *ops, void *arg,
			    enum secret_backing backing);

/**
 * journal_free() - give the memory back
 * @journal:	journal; its device is gone, or no other thread uses it; NULL is ok
 *
 * The memory stays as long as somebody holds its descriptor.
 */
void journal_free(struct journal *journal);

/**
 * journal_prepare() - do before journal_start() what takes most of its time
 * @journal:	journal that was not started, or prepared; its device has the
 *		configuration that it will have at journal_start()
 *
 * Return: 0; -ENOMEM; -ENOSPC; -errno.
 */
int journal_prepare(struct journal *journal);

/**
 * journal_start() - begin to record, or go on in another memory
 * @journal:	journal
 *
 * The new memory has the configuration of the device as it is now.
 *
 * Return: 0; -ENOMEM; -ENOSPC; -errno of @keep. After an error all is as before.
 */
int journal_start(struct journal *journal);

/**
 * journal_copy() - write the configuration and the slots to another memory
 * @journal:	journal; it goes on in its own memory
 * @give:	gets the descriptor of the copy, borrowed for the call
 * @arg:	for @give
 *
 * Return: 0; -ENOMEM; -ENOSPC; -errno of @give.
 */
int journal_copy(struct journal *journal, int (*give)(void *arg, int fd),
		 void *arg);

/**
 * journal_apply() - apply a change of the configuration, and record it
 * @journal:	journal
 * @config:	the change
 * @now:	the present
 *
 * Without journal_start() the change is only applied.
 *
 * Return: 0: it was applied and recorded; an error of config_apply(),
 * journal_start() or of the memory: nothing has changed.
 */
int journal_apply(struct journal *journal, const struct config *config,
		  uint64_t now);

/**
 * struct journal_info - what a journal takes
 * @len:	bytes of its memory; 0: journal_start() was not called
 * @is_secret:	it is memory of memfd_secret(2)
 * @n_made:	how many memories were made
 */
struct journal_info {
	size_t len;
	bool is_secret;
	unsigned int n_made;
};

/* journal_get_info() - read what a journal takes */
void journal_get_info(const struct journal *journal, struct journal_info *info);

#endif /* JOURNAL_JOURNAL_H */
