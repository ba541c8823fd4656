/* SPDX-License-Identifier: MIT */
/* A part of the journal is marked before it is applied, and the mark is taken off when
 * all is done. After an error the mark is taken off, too: this process has not died of
 * it. */
#include "journal/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "journal/reader.h"

static int apply(struct restore *restore, struct reader *reader,
		 const struct reader_record *record)
{
	struct config *config;
	int err;

	reader_mark(reader, record->number);
	err = config_read(&config, record->body, record->len,
			  restore->is_endpoint);
	if (err == -ENOMEM)
		return err;
	if (err < 0) {
		reader_spoil(reader,
			     "a record is no change of a configuration");
		return 0;
	}
	err = config_replay(config, restore->device, restore->now);
	config_free(config);
	if (err == 0)
		restore->n_records++;
	if (err == 0 || err == -ENOMEM)
		return err;
	/* The device takes no more of it: no engine has accepted this record. */
	reader_spoil(reader, "a record cannot be applied");
	return 0;
}

static int apply_records(struct restore *restore, struct reader *reader)
{
	struct reader_record record;
	int rc;

	while ((rc = reader_next(reader, &record)) == 1) {
		if (record.is_left_out) {
			restore->n_left_out++;
			log_error("the journal's record %" PRIu64
				  " is left out: the process that applied it "
				  "has died",
				  record.number);
			continue;
		}
		rc = apply(restore, reader, &record);
		reader_done(&record);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* The system may have chosen the port, or a record may be left out. */
static int restore_port(struct restore *restore, const struct reader *reader)
{
	uint16_t port = reader_get_port(reader);
	struct config *config;
	int err;

	if (!port || port == restore->device->listen_port)
		return 0;
	config = config_new();
	if (!config)
		return -ENOMEM;
	err = config_set_listen_port(config, port);
	if (err == 0)
		err = config_replay(config, restore->device, restore->now);
	config_free(config);
	return err;
}

static void restore_timestamps(struct peer *peer,
			       const struct reader_peer *from)
{
	struct tai64n taken, sent;

	memcpy(taken.b, from->taken, sizeof(taken.b));
	memcpy(sent.b, from->sent, sizeof(sent.b));
	noise_handshake_restore_timestamps(&peer->handshake, &taken, &sent);
}

static void restore_state(struct restore *restore, struct peer *peer,
			  const struct layout_state *state)
{
	const uint8_t none[ENDPOINT_LEN] = { 0 };
	struct device_endpoint ep = { 0 };

	restore->n_peers++;
	atomic_store_explicit(&peer->tx_bytes, state->tx_bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->rx_bytes, state->rx_bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->last_handshake_ns,
			      state->last_handshake_ns, memory_order_relaxed);
	if (state->has_session && !peer->had_session) {
		peer->had_session = true;
		restore->n_sessions++;
	}
	memcpy(ep.words, state->endpoint, sizeof(state->endpoint));
	if (memcmp(state->endpoint, none, sizeof(none)) != 0 &&
	    restore->is_endpoint(&ep))
		endpoint_cell_set(&peer->endpoint, &ep);
}

static void restore_peers(struct restore *restore, struct reader *reader)
{
	bool has_died = reader->died_in == LAYOUT_RESTORING;
	struct reader_peer from;
	struct peer *peer;

	if (has_died)
		log_error("endpoints, counters and sessions are left out: the "
			  "process that restored them has died");
	for (uint64_t i = 0; i < reader->n_slots; i++) {
		if (!reader_get_peer(reader, i, &from))
			continue;
		peer = device_lookup_peer(restore->device, from.key);
		if (!peer)
			continue;
		restore_timestamps(peer, &from);
		if (from.has_state && !has_died)
			restore_state(restore, peer, &from.state);
	}
}

static int read_store(struct restore *restore, const struct store *store)
{
	struct reader reader;
	int err;

	if (!reader_init(&reader, store)) {
		restore->why = reader.why;
		return 0;
	}
	err = apply_records(restore, &reader);
	config_end_replay(restore->device);
	restore->why = reader.why;
	if (err == 0)
		err = restore_port(restore, &reader);
	if (err == 0) {
		if (reader.died_in != LAYOUT_RESTORING)
			reader_mark(&reader, LAYOUT_RESTORING);
		restore_peers(restore, &reader);
	}
	reader_mark(&reader, 0);
	return err;
}

/* Will each attempt to use the memory fail with this error? */
static bool is_of_memory(int err)
{
	return err == -EINVAL || err == -EACCES || err == -EPERM ||
	       err == -EBADF || err == -ENODEV;
}

int restore_run(struct restore *restore, int fd)
{
	struct store store;
	int err;

	restore->n_records = 0;
	restore->n_left_out = 0;
	restore->n_peers = 0;
	restore->n_sessions = 0;
	restore->why = NULL;
	err = store_open(&store, fd, LAYOUT_MAX_LEN);
	if (err == 0) {
		err = read_store(restore, &store);
		store_close(&store);
	} else {
		close(fd);
		/* Else the system is short of something, and the next process that
		 * tries may be able to read it. */
		if (is_of_memory(err)) {
			restore->why = "its memory cannot be used";
			err = 0;
		}
	}
	if (restore->why)
		log_error("the journal was read up to record %zu: %s",
			  restore->n_records + restore->n_left_out,
			  restore->why);
	return err;
}
