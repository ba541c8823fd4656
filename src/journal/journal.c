/* SPDX-License-Identifier: MIT */
/*
 * The control thread alone writes records. Slots are written by any thread, under the
 * mutex: a state is read from the peer and written to its slot while the mutex is
 * held, so that an older state never comes after a newer one.
 */
#include "journal/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/snapshot.h"
#include "journal/book.h"

enum {
	/* A record of a whole configuration has this many peers at most. A
	 * choice: if a process dies when it applies the record, these peers are
	 * left out. */
	PEERS_PER_RECORD = 16,
};

/*
 * @lock:	held for @book, and record_seat of all peers
 * @device:	[I]
 * @ops, @arg:	[I]
 * @backing:	[I]
 * @book:	[m] the slots; the records belong to the control thread
 * @has_book:	[m] written by the control thread
 * @next:	[c] with @has_next: a book that has the configuration, and no states
 * @has_next:	[c] journal_prepare() has made @next
 * @is_told:	[c] the log says that the memory is not secret
 * @n_made:	[c] books made
 */
struct journal {
	pthread_mutex_t lock;
	struct device *device;
	const struct journal_ops *ops;
	void *arg;
	enum secret_backing backing;
	struct book book;
	bool has_book;
	struct book next;
	bool has_next;
	bool is_told;
	unsigned int n_made;
};

/* ------------------------------------------------------------------ slots */

static bool has_keys(struct peer *peer)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&peer->keypairs);

	noise_keypair_put(kp);
	return kp;
}

static void read_state(struct peer *peer, struct layout_state *state)
{
	struct device_endpoint ep;
	struct tai64n taken, sent;

	noise_handshake_get_timestamps(&peer->handshake, &taken, &sent);
	memcpy(state->taken, taken.b, sizeof(state->taken));
	memcpy(state->sent, sent.b, sizeof(state->sent));
	state->tx_bytes =
		atomic_load_explicit(&peer->tx_bytes, memory_order_relaxed);
	state->rx_bytes =
		atomic_load_explicit(&peer->rx_bytes, memory_order_relaxed);
	state->last_handshake_ns = atomic_load_explicit(
		&peer->last_handshake_ns, memory_order_relaxed);
	endpoint_cell_get(&peer->endpoint, &ep);
	memcpy(state->endpoint, ep.words, sizeof(state->endpoint));
	/* The session that another process had counts until the peer has been
	 * greeted. */
	state->has_session = has_keys(peer) || peer->had_session;
}

/* Under the lock. */
static void write_state(struct book *book, uint32_t slot, struct peer *peer)
{
	struct layout_state state = { 0 };

	read_state(peer, &state);
	book_write_state(book, slot, &state);
}

static void on_note(void *arg, struct peer *peer)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->lock);
	if (j->has_book && peer->record_seat)
		write_state(&j->book, peer->record_seat - 1, peer);
	pthread_mutex_unlock(&j->lock);
}

static void on_added(void *arg, struct peer *peer)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->lock);
	if (j->has_book)
		peer->record_seat =
			book_take_slot(&j->book, peer->public_key) + 1;
	pthread_mutex_unlock(&j->lock);
}

static void on_removed(void *arg, struct peer *peer)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->lock);
	if (j->has_book && peer->record_seat)
		book_leave_slot(&j->book, peer->record_seat - 1);
	peer->record_seat = 0;
	pthread_mutex_unlock(&j->lock);
}

static void on_port(void *arg)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->lock);
	if (j->has_book)
		book_write_port(&j->book, j->device->listen_port);
	pthread_mutex_unlock(&j->lock);
}

static const struct device_recorder recorder = {
	.added = on_added,
	.removed = on_removed,
	.note = on_note,
	.port = on_port,
};

/* ------------------------------------------------------- another memory */

/* Adds a record with a list. The book has room for it. */
static void write_record(struct book *book, const struct config *config,
			 uint16_t port)
{
	size_t len = config_get_len(config);

	if (!len)
		return;
	config_write(config, book_begin(book, len));
	book_commit(book, port);
}

static int write_device(struct book *book, struct device *device)
{
	struct config *config = config_new();
	int err;

	if (!config)
		return -ENOMEM;
	err = snapshot_add_device(config, device);
	if (err == 0)
		write_record(book, config, device->listen_port);
	config_free(config);
	return err;
}

/* Writes the peers from @item on, at most PEERS_PER_RECORD. @next is set to the one
 * that comes next. */
static int write_some_peers(struct book *book, struct device *device,
			    struct list *item, struct list **next)
{
	struct config *config = config_new();
	int err = config ? 0 : -ENOMEM;

	for (int i = 0;
	     err == 0 && i < PEERS_PER_RECORD && item != &device->peers; i++) {
		err = snapshot_add_peer(
			config, container_of(item, struct peer, in_device));
		item = item->next;
	}
	if (err == 0)
		write_record(book, config, device->listen_port);
	config_free(config);
	*next = item;
	return err;
}

static int write_all(struct book *book, struct device *device)
{
	struct list *item = device->peers.next;
	int err = write_device(book, device);

	while (err == 0 && item != &device->peers)
		err = write_some_peers(book, device, item, &item);
	return err;
}

/* Bytes that write_all() needs at most. */
static size_t measure_all(const struct device *device)
{
	size_t n_records = 1 + device->n_peers / PEERS_PER_RECORD + 1;

	return n_records * layout_record_len(LAYOUT_ALIGN) +
	       (device->n_peers + 1) * SNAPSHOT_PIECE_LEN +
	       device->allowedips.n_prefixes * SNAPSHOT_PREFIX_LEN;
}

/* Makes a book with the configuration of the device, and room for what comes. */
static int make_book(struct journal *j, struct book *book, size_t extra_len,
		     size_t extra_slots)
{
	struct device *device = j->device;
	size_t len = measure_all(device) + layout_record_len(extra_len);
	size_t n_slots = device->n_peers + extra_slots;
	uint8_t sum_key[SIPHASH_KEY_LEN];
	int err;

	len += size_max(len / 2, JOURNAL_MIN_SPARE);
	n_slots += size_max(n_slots / 4, JOURNAL_MIN_SLOTS);
	if (n_slots > UINT32_MAX)
		return -ENOSPC;
	device->ops->random(device->arg, sum_key, sizeof(sum_key));
	err = book_init(book, (uint32_t)n_slots, len, sum_key, j->backing);
	if (err < 0)
		return err;
	j->n_made++;
	err = write_all(book, device);
	if (err < 0)
		book_deinit(book);
	return err;
}

/* Under the lock. The slots are taken in the order of the peers. */
static void write_states(struct book *book, struct device *device)
{
	struct list *item;

	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		write_state(book, book_take_slot(book, peer->public_key), peer);
	}
}

/* Under the lock. Gives each peer the slot that write_states() has taken for it. */
static void set_seats(struct journal *j)
{
	struct list *item;
	uint32_t slot = 0;

	list_for_each(item, &j->device->peers)
		container_of(item, struct peer, in_device)->record_seat =
			++slot;
}

static void tell_backing(struct journal *j, const struct book *book)
{
	if (book->store.is_secret || j->is_told || j->backing != SECRET_BEST)
		return;
	j->is_told = true;
	log_warning("the journal is in memory that the system may write to its "
		    "swap: no memfd_secret, or RLIMIT_MEMLOCK is too low");
}

/*
 * Go on with another memory. The states are read and written, and the memory is handed
 * over, under the lock: no timestamp can be noted in the old memory when the new one
 * has been written already.
 */
static int replace_book(struct journal *j, size_t extra_len, size_t extra_slots)
{
	struct book next = j->next;
	int err = 0;

	if (!j->has_next)
		err = make_book(j, &next, extra_len, extra_slots);
	j->has_next = false;
	if (err < 0)
		return err;
	tell_backing(j, &next);
	pthread_mutex_lock(&j->lock);
	write_states(&next, j->device);
	book_finish(&next);
	err = j->ops->keep(j->arg, next.store.fd);
	if (err < 0) {
		book_deinit(&next);
	} else {
		if (j->has_book)
			book_deinit(&j->book);
		j->book = next;
		j->has_book = true;
		set_seats(j);
	}
	pthread_mutex_unlock(&j->lock);
	return err;
}

/* ------------------------------------------------------------ the journal */

struct journal *journal_new(struct device *device,
			    const struct journal_ops *ops, void *arg,
			    enum secret_backing backing)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	pthread_mutex_init(&j->lock, NULL);
	j->device = device;
	j->ops = ops;
	j->arg = arg;
	j->backing = backing;
	device_set_recorder(device, &recorder, j);
	return j;
}

void journal_free(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->has_book)
		book_deinit(&journal->book);
	if (journal->has_next)
		book_deinit(&journal->next);
	pthread_mutex_destroy(&journal->lock);
	free(journal);
}

int journal_prepare(struct journal *journal)
{
	int err = make_book(journal, &journal->next, 0, 0);

	journal->has_next = err == 0;
	return err;
}

int journal_start(struct journal *journal)
{
	return replace_book(journal, 0, 0);
}

int journal_copy(struct journal *journal, int (*give)(void *arg, int fd),
		 void *arg)
{
	struct book copy;
	int err = make_book(journal, &copy, 0, 0);

	if (err < 0)
		return err;
	pthread_mutex_lock(&journal->lock);
	write_states(&copy, journal->device);
	pthread_mutex_unlock(&journal->lock);
	book_finish(&copy);
	err = give(arg, copy.store.fd);
	book_deinit(&copy);
	return err;
}

/* A change may have set the endpoint of the peer. An older state in its slot would hide
 * that endpoint from the next process. */
static void refresh_state(void *arg, struct peer *peer)
{
	struct journal *j = arg;

	if (peer->record_seat &&
	    book_has_state(&j->book, peer->record_seat - 1))
		write_state(&j->book, peer->record_seat - 1, peer);
}

/* Makes room for a change. */
static int prepare(struct journal *j, const struct config *config)
{
	size_t len = config_get_len(config);
	size_t n_new = config_count_new_peers(config, j->device);

	if (book_has_room(&j->book, len) && j->book.n_free >= n_new)
		return 0;
	return replace_book(j, len, n_new);
}

int journal_apply(struct journal *journal, const struct config *config,
		  uint64_t now)
{
	struct journal *j = journal;
	struct book *book = &j->book;
	size_t len = config_get_len(config);
	int err;

	if (!j->has_book || !len)
		return config_apply(config, j->device, now);
	err = prepare(j, config);
	if (err < 0)
		return err;
	/* From now on states belong to the record that is being written. */
	pthread_mutex_lock(&j->lock);
	config_write(config, book_begin(book, len));
	pthread_mutex_unlock(&j->lock);
	err = config_apply(config, j->device, now);
	pthread_mutex_lock(&j->lock);
	if (err < 0) {
		book_abandon(book);
	} else {
		config_each_peer(config, j->device, refresh_state, j);
		book_commit(book, j->device->listen_port);
	}
	pthread_mutex_unlock(&j->lock);
	return err;
}

void journal_get_info(const struct journal *journal, struct journal_info *info)
{
	*info = (struct journal_info){ .n_made = journal->n_made };
	if (!journal->has_book)
		return;
	info->len = journal->book.store.len;
	info->is_secret = journal->book.store.is_secret;
}
