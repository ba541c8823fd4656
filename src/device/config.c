/* SPDX-License-Identifier: MIT */
/*
 * The list is a chain of chunks. Each record in it is one byte for the kind of
 * operation and body_len() bytes behind it, so a record can begin at any
 * address and is copied out before it is used.
 *
 * apply() works in two phases: prepare_change() and change_sockets() can
 * fail and leave the device as it is; apply_record() changes the device and
 * cannot fail.
 */
#include "device/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "crypto/secret.h"
#include "device/memory.h"

enum {
	/* Operations are allocated in chunks of this many bytes. A choice: some
	 * hundred operations, and little to waste in a short list. */
	CHUNK_LEN = 16 * 1024,
	/* A list of this many chunks (1 MiB) gives its memory back to the
	 * kernel when it is freed. A choice. */
	MANY_CHUNKS = 64,
	/* The removal of this many prefixes and peers does so, too. A choice.
	 */
	MANY_REMOVED = 1024,
};

enum kind {
	SET_PRIVATE_KEY,
	SET_LISTEN_PORT,
	SET_FWMARK,
	REPLACE_PEERS,
	BEGIN_PEER,
	SET_PRESHARED_KEY,
	SET_ENDPOINT,
	SET_PERSISTENT,
	REPLACE_ALLOWEDIPS,
	ADD_ALLOWEDIP,
	REMOVE_ALLOWEDIP,
};

/* The body of a BEGIN_PEER record. */
struct section {
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	bool is_update_only;
	bool is_removal;
};

struct chunk {
	struct chunk *next;
	size_t len;
	uint8_t bytes[CHUNK_LEN];
};

/*
 * @first:	chunks, in order
 * @last:	the chunk that the next record goes to
 * @section:	body of the last BEGIN_PEER record, inside a chunk
 * @n_prefixes:	how many prefixes are added, by family (IPv4, IPv6)
 * @n_chunks:	how many chunks
 * @len:	bytes of all records
 * @may_forget:	an operation of the list may remove peers that exist now, so
 *		every section may have to make its peer
 * @sockets:	the port and mark that the list asks for
 */
struct config {
	struct chunk *first;
	struct chunk *last;
	uint8_t *section;
	size_t n_prefixes[2];
	size_t n_chunks;
	size_t len;
	bool may_forget;
	struct device_sockets sockets;
};

/* A place in a list of operations. */
struct cursor {
	const struct chunk *chunk;
	size_t off;
};

/* A record. Its body is borrowed from the list and has any alignment. */
struct record {
	enum kind kind;
	const uint8_t *body;
};

struct config *config_new(void)
{
	return calloc(1, sizeof(struct config));
}

void config_free(struct config *config)
{
	struct chunk *chunk;
	bool is_large;

	if (!config)
		return;
	is_large = config->n_chunks >= MANY_CHUNKS;
	while ((chunk = config->first)) {
		config->first = chunk->next;
		secret_zero(chunk->bytes, chunk->len);
		free(chunk);
	}
	free(config);
	if (is_large)
		memory_trim_later();
}

/* How many bytes follow the kind of a record. */
static size_t body_len(enum kind kind)
{
	switch (kind) {
	case SET_PRIVATE_KEY:
	case SET_PRESHARED_KEY:
		return NOISE_PRIVATE_KEY_LEN;
	case BEGIN_PEER:
		return sizeof(struct section);
	case SET_ENDPOINT:
		return sizeof(struct device_endpoint);
	case SET_PERSISTENT:
	case SET_LISTEN_PORT:
		return sizeof(uint16_t);
	case SET_FWMARK:
		return sizeof(uint32_t);
	case ADD_ALLOWEDIP:
	case REMOVE_ALLOWEDIP:
		return sizeof(struct ip_prefix);
	case REPLACE_PEERS:
	case REPLACE_ALLOWEDIPS:
		break;
	}
	return 0;
}

static int add_chunk(struct config *config)
{
	struct chunk *chunk;

	if (config->n_chunks >= CONFIG_MAX_LEN / CHUNK_LEN)
		return -EFBIG;
	chunk = malloc(sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	chunk->next = NULL;
	chunk->len = 0;
	if (config->last)
		config->last->next = chunk;
	else
		config->first = chunk;
	config->last = chunk;
	config->n_chunks++;
	return 0;
}

/* @body is body_len() bytes long; NULL for no bytes. */
static int append(struct config *config, enum kind kind, const void *body)
{
	size_t len = body_len(kind);
	uint8_t *at;
	int err;

	if (!config->last || len + 1 > CHUNK_LEN - config->last->len) {
		err = add_chunk(config);
		if (err < 0)
			return err;
	}
	at = config->last->bytes + config->last->len;
	at[0] = (uint8_t)kind;
	if (body)
		memcpy(at + 1, body, len);
	config->last->len += len + 1;
	config->len += len + 1;
	if (kind == BEGIN_PEER)
		config->section = at + 1;
	return 0;
}

/* To start, @cursor is { config->first, 0 }. Returns false at the end. */
static bool next_record(struct cursor *cursor, struct record *record)
{
	const uint8_t *at;

	while (cursor->chunk && cursor->off == cursor->chunk->len) {
		cursor->chunk = cursor->chunk->next;
		cursor->off = 0;
	}
	if (!cursor->chunk)
		return false;
	at = cursor->chunk->bytes + cursor->off;
	record->kind = (enum kind)at[0];
	record->body = at + 1;
	cursor->off += body_len(record->kind) + 1;
	return true;
}

int config_set_private_key(struct config *config,
			   const uint8_t key[NOISE_PRIVATE_KEY_LEN])
{
	/* If a peer has the public key that is now ours, it is removed. */
	config->may_forget = true;
	return append(config, SET_PRIVATE_KEY, key);
}

int config_set_listen_port(struct config *config, uint16_t port)
{
	config->sockets.has_port = true;
	config->sockets.port = port;
	return append(config, SET_LISTEN_PORT, &port);
}

int config_set_fwmark(struct config *config, uint32_t fwmark)
{
	config->sockets.has_fwmark = true;
	config->sockets.fwmark = fwmark;
	return append(config, SET_FWMARK, &fwmark);
}

int config_replace_peers(struct config *config)
{
	config->may_forget = true;
	return append(config, REPLACE_PEERS, NULL);
}

int config_begin_peer(struct config *config,
		      const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct section section = { .is_removal = false };

	memcpy(section.key, key, sizeof(section.key));
	return append(config, BEGIN_PEER, &section);
}

int config_update_only(struct config *config)
{
	const bool yes = true;

	INVARIANT(config->section);
	memcpy(config->section + offsetof(struct section, is_update_only), &yes,
	       sizeof(yes));
	return 0;
}

int config_remove_peer(struct config *config)
{
	const bool yes = true;

	INVARIANT(config->section);
	config->may_forget = true;
	memcpy(config->section + offsetof(struct section, is_removal), &yes,
	       sizeof(yes));
	return 0;
}

int config_set_preshared_key(struct config *config,
			     const uint8_t key[NOISE_PRESHARED_KEY_LEN])
{
	return append(config, SET_PRESHARED_KEY, key);
}

int config_set_endpoint(struct config *config, const struct device_endpoint *ep)
{
	return append(config, SET_ENDPOINT, ep);
}

int config_set_persistent(struct config *config, uint16_t interval_s)
{
	return append(config, SET_PERSISTENT, &interval_s);
}

int config_replace_allowedips(struct config *config)
{
	return append(config, REPLACE_ALLOWEDIPS, NULL);
}

int config_add_allowedip(struct config *config, const struct ip_prefix *prefix)
{
	config->n_prefixes[prefix->family == IP_V4 ? 0 : 1]++;
	return append(config, ADD_ALLOWEDIP, prefix);
}

int config_remove_allowedip(struct config *config,
			    const struct ip_prefix *prefix)
{
	return append(config, REMOVE_ALLOWEDIP, prefix);
}

size_t config_get_len(const struct config *config)
{
	return config->len;
}

void config_write(const struct config *config, void *buf)
{
	uint8_t *at = buf;

	for (const struct chunk *c = config->first; c; c = c->next) {
		memcpy(at, c->bytes, c->len);
		at += c->len;
	}
}

/* A byte that was written as a bool. Returns false if it is none. */
static bool read_bool(const uint8_t *byte, bool *value)
{
	*value = *byte == 1;
	return *byte <= 1;
}

static int read_section_record(struct config *config, const uint8_t *body)
{
	const uint8_t *key = body + offsetof(struct section, key);
	bool is_update_only, is_removal;
	int err;

	if (!read_bool(body + offsetof(struct section, is_update_only),
		       &is_update_only) ||
	    !read_bool(body + offsetof(struct section, is_removal),
		       &is_removal))
		return -EBADMSG;
	err = config_begin_peer(config, key);
	if (err == 0 && is_update_only)
		err = config_update_only(config);
	if (err == 0 && is_removal)
		err = config_remove_peer(config);
	return err;
}

static int read_prefix_record(struct config *config, enum kind kind,
			      const uint8_t *body)
{
	struct ip_prefix prefix;

	memcpy(&prefix, body, sizeof(prefix));
	if (!ip_prefix_is_valid(&prefix))
		return -EBADMSG;
	return kind == ADD_ALLOWEDIP ? config_add_allowedip(config, &prefix)
				     : config_remove_allowedip(config, &prefix);
}

static int
read_endpoint_record(struct config *config, const uint8_t *body,
		     bool (*is_endpoint)(const struct device_endpoint *ep))
{
	struct device_endpoint ep;

	memcpy(&ep, body, sizeof(ep));
	return is_endpoint(&ep) ? config_set_endpoint(config, &ep) : -EBADMSG;
}

/* Adds the operation of a record to the list. @body is body_len() bytes long. */
static int read_record(struct config *config, enum kind kind,
		       const uint8_t *body,
		       bool (*is_endpoint)(const struct device_endpoint *ep))
{
	uint16_t u16;
	uint32_t u32;

	/* Operations on the device come before the first section, those on a
	 * peer in a section. */
	if (kind < BEGIN_PEER && config->section)
		return -EBADMSG;
	if (kind > BEGIN_PEER && !config->section)
		return -EBADMSG;
	switch (kind) {
	case SET_PRIVATE_KEY:
		return config_set_private_key(config, body);
	case SET_LISTEN_PORT:
		memcpy(&u16, body, sizeof(u16));
		return config_set_listen_port(config, u16);
	case SET_FWMARK:
		memcpy(&u32, body, sizeof(u32));
		return config_set_fwmark(config, u32);
	case REPLACE_PEERS:
		return config_replace_peers(config);
	case BEGIN_PEER:
		return read_section_record(config, body);
	case SET_PRESHARED_KEY:
		return config_set_preshared_key(config, body);
	case SET_ENDPOINT:
		return read_endpoint_record(config, body, is_endpoint);
	case SET_PERSISTENT:
		memcpy(&u16, body, sizeof(u16));
		return config_set_persistent(config, u16);
	case REPLACE_ALLOWEDIPS:
		return config_replace_allowedips(config);
	case ADD_ALLOWEDIP:
	case REMOVE_ALLOWEDIP:
		return read_prefix_record(config, kind, body);
	}
	return -EBADMSG;
}

int config_read(struct config **out, const void *buf, size_t len,
		bool (*is_endpoint)(const struct device_endpoint *ep))
{
	struct config *config = config_new();
	const uint8_t *at = buf;
	int err = config ? 0 : -ENOMEM;

	while (err == 0 && len) {
		uint8_t kind = at[0];

		/* Before the byte is taken for an enum kind. */
		if (kind > REMOVE_ALLOWEDIP ||
		    body_len((enum kind)kind) > len - 1) {
			err = -EBADMSG;
			break;
		}
		err = read_record(config, (enum kind)kind, at + 1, is_endpoint);
		len -= body_len((enum kind)kind) + 1;
		at += body_len((enum kind)kind) + 1;
	}
	if (err < 0) {
		config_free(config);
		return err;
	}
	*out = config;
	return 0;
}

/*
 * A list being applied.
 * @device:	device
 * @now:	the present
 * @spare:	peers made in advance, in the order of their sections
 * @peer:	peer that the next records change; NULL: ignore these records
 * @is_enabled:	this section has switched persistent keepalives on
 * @is_old:	the peer of this section was there before
 * @is_changed:	this section has records about a peer that was there before
 */
struct change {
	struct device *device;
	uint64_t now;
	struct list spare;
	struct peer *peer;
	bool is_enabled;
	bool is_old;
	bool is_changed;
};

static struct section read_section(const struct record *record)
{
	struct section section;

	memcpy(&section, record->body, sizeof(section));
	return section;
}

/* Finds the next section that may have to make its peer. Returns false if there
 * is no other. */
static bool next_new_peer(const struct config *config, struct cursor *cursor,
			  const struct device *device, struct section *section)
{
	struct record record;

	while (next_record(cursor, &record)) {
		if (record.kind != BEGIN_PEER)
			continue;
		*section = read_section(&record);
		if (section->is_removal || section->is_update_only)
			continue;
		if (config->may_forget ||
		    !device_lookup_peer(device, section->key))
			return true;
	}
	return false;
}

size_t config_count_new_peers(const struct config *config,
			      const struct device *device)
{
	struct cursor cursor = { config->first, 0 };
	struct section section;
	size_t n = 0;

	while (next_new_peer(config, &cursor, device, &section))
		n++;
	return n;
}

void config_each_peer(const struct config *config, const struct device *device,
		      void (*fn)(void *arg, struct peer *peer), void *arg)
{
	struct cursor cursor = { config->first, 0 };
	struct record record;
	struct section section;
	struct peer *peer;

	while (next_record(&cursor, &record)) {
		if (record.kind != BEGIN_PEER)
			continue;
		section = read_section(&record);
		peer = device_lookup_peer(device, section.key);
		if (peer)
			fn(arg, peer);
	}
}

/* Makes every peer that a section may need, into @change->spare. */
static int prepare_peers(const struct config *config, struct change *change)
{
	struct cursor cursor = { config->first, 0 };
	struct section section;
	struct peer *peer;
	size_t n = 0;

	while (next_new_peer(config, &cursor, change->device, &section)) {
		if (++n > DEVICE_MAX_PEERS)
			return -ENOSPC;
		peer = peer_new(change->device, section.key);
		if (!peer)
			return -ENOMEM;
		list_push(&change->spare, &peer->in_device);
	}
	return device_reserve_peers(change->device, n);
}

static void spare_free(struct change *change)
{
	struct list *item;

	while ((item = list_pop(&change->spare)))
		peer_put(container_of(item, struct peer, in_device));
}

/* Returns the peer made for the section of @key. In front of it stand the peers
 * of sections that did not need theirs, because the peer existed or the key is
 * ours: they are freed. */
static struct peer *spare_take(struct change *change,
			       const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct peer *peer = NULL;
	struct list *item;

	while ((item = list_pop(&change->spare))) {
		peer = container_of(item, struct peer, in_device);
		if (!memcmp(peer->public_key, key, sizeof(peer->public_key)))
			return peer;
		peer_put(peer);
	}
	invariant_broken("a peer for each section", __FILE__, __LINE__);
}

/* Takes all the memory that applying can need. drop_leftovers() gives back
 * the rest, also after an error. */
static int prepare_change(const struct config *config, struct change *change)
{
	struct allowedips *table = &change->device->allowedips;
	int err;

	err = allowedips_reserve(table, IP_V4, config->n_prefixes[0]);
	if (err < 0)
		return err;
	err = allowedips_reserve(table, IP_V6, config->n_prefixes[1]);
	if (err < 0)
		return err;
	return prepare_peers(config, change);
}

static void drop_leftovers(struct change *change)
{
	allowedips_unreserve(&change->device->allowedips);
	spare_free(change);
}

/* The last step that can fail. After an error the sockets are as before. */
static int change_sockets(const struct config *config, struct device *device,
			  bool is_restored)
{
	struct device_sockets want = config->sockets;
	uint16_t port = device->listen_port;
	int err;

	if (!want.has_port && !want.has_fwmark)
		return 0;
	want.is_restored = is_restored;
	err = device->ops->set_sockets(device->arg, &want, &port);
	if (err < 0)
		return err;
	device->listen_port = port;
	if (want.has_fwmark)
		device->fwmark = want.fwmark;
	device->generation++;
	return 0;
}

/* As the kernel module does after each peer: sends a keepalive if persistent
 * ones were switched on just now, and staged packets if there is a session. */
static void end_section(struct change *change)
{
	struct device *device = change->device;
	struct peer *peer = change->peer;

	change->peer = NULL;
	if (change->is_changed)
		device_tell(peer, DEVICE_PEER_CHANGED, NULL);
	change->is_changed = false;
	if (!peer ||
	    !atomic_load_explicit(&device->is_up, memory_order_relaxed))
		return;
	device_poke_peer(peer);
	if (change->is_enabled || !staged_is_empty(&peer->staged))
		device->ops->send_keepalive(device->arg, peer);
}

static void begin_section(struct change *change, const struct section *section)
{
	struct device *device = change->device;
	struct peer *peer = device_lookup_peer(device, section->key);

	end_section(change);
	change->is_enabled = false;
	change->is_old = peer != NULL;
	if (section->is_removal) {
		if (peer)
			device_remove_peer(device, peer);
		return;
	}
	if (!peer && !section->is_update_only &&
	    !device_is_own_key(device, section->key)) {
		peer = spare_take(change, section->key);
		device_add_peer(device, peer);
	}
	change->peer = peer;
}

static void replace_peers(struct change *change)
{
	struct device *device = change->device;

	while (!list_is_empty(&device->peers))
		device_remove_peer(device,
				   container_of(device->peers.next, struct peer,
						in_device));
}

static void set_persistent(struct change *change, uint16_t interval_s)
{
	struct timers *timers = &change->peer->timers;
	uint16_t old = atomic_exchange_explicit(
		&timers->persistent_s, interval_s, memory_order_relaxed);

	/* end_section() sends the first keepalive, so the interval begins now:
	 * else the timers would find another one overdue. */
	if (!old && interval_s) {
		change->is_enabled = true;
		atomic_store_explicit(&timers->traversal_ns, change->now,
				      memory_order_relaxed);
	}
}

static void change_allowedip(struct change *change, const struct record *record)
{
	struct allowedips *table = &change->device->allowedips;
	struct allowedips_owner *owner = &change->peer->allowedips;
	struct ip_prefix prefix;
	int err = 0;

	memcpy(&prefix, record->body, sizeof(prefix));
	if (record->kind == ADD_ALLOWEDIP)
		err = allowedips_insert(table, &prefix, owner);
	else
		allowedips_remove(table, &prefix, owner);
	INVARIANT(err == 0);
}

static void set_endpoint(struct peer *peer, const struct record *record)
{
	struct device_endpoint ep;

	/* Without an endpoint no initiation has left: begin anew at once. */
	if (!endpoint_cell_get(&peer->endpoint, &ep))
		timers_expire_handshake(&peer->timers);
	memcpy(&ep, record->body, sizeof(ep));
	endpoint_cell_set(&peer->endpoint, &ep);
}

static void apply_to_peer(struct change *change, const struct record *record)
{
	struct peer *peer = change->peer;
	uint16_t interval_s;

	switch (record->kind) {
	case SET_PRESHARED_KEY:
		noise_handshake_set_preshared_key(&peer->handshake,
						  record->body);
		break;
	case SET_ENDPOINT:
		set_endpoint(peer, record);
		break;
	case SET_PERSISTENT:
		memcpy(&interval_s, record->body, sizeof(interval_s));
		set_persistent(change, interval_s);
		break;
	case REPLACE_ALLOWEDIPS:
		allowedips_remove_owner(&change->device->allowedips,
					&peer->allowedips);
		break;
	case ADD_ALLOWEDIP:
	case REMOVE_ALLOWEDIP:
		change_allowedip(change, record);
		break;
	default:
		invariant_broken("a record about a peer", __FILE__, __LINE__);
	}
}

static void apply_record(struct change *change, const struct record *record)
{
	struct section section;

	switch (record->kind) {
	case SET_PRIVATE_KEY:
		device_set_private_key(change->device, record->body);
		break;
	case SET_LISTEN_PORT:
	case SET_FWMARK:
		break; /* change_sockets() has done it */
	case REPLACE_PEERS:
		replace_peers(change);
		break;
	case BEGIN_PEER:
		section = read_section(record);
		begin_section(change, &section);
		break;
	default:
		if (!change->peer)
			break;
		apply_to_peer(change, record);
		change->is_changed = change->is_old;
	}
}

/* Peers and prefixes that the device holds. */
static size_t n_items(const struct device *device)
{
	return device->n_peers + device->allowedips.n_prefixes;
}

static int apply(const struct config *config, struct device *device,
		 uint64_t now, bool is_restored)
{
	size_t n_before = n_items(device);
	struct change change = { .device = device, .now = now };
	struct cursor cursor = { config->first, 0 };
	struct record record;
	int err;

	list_init(&change.spare);
	err = prepare_change(config, &change);
	if (err == 0)
		err = change_sockets(config, device, is_restored);
	if (err == 0) {
		while (next_record(&cursor, &record))
			apply_record(&change, &record);
		end_section(&change);
		device->generation++;
	}
	drop_leftovers(&change);
	if (n_before >= n_items(device) + MANY_REMOVED)
		memory_trim_later();
	return err;
}

int config_replay(const struct config *config, struct device *device,
		  uint64_t now)
{
	return apply(config, device, now, true);
}

void config_end_replay(struct device *device)
{
	allowedips_settle(&device->allowedips);
}

int config_apply(const struct config *config, struct device *device,
		 uint64_t now)
{
	int err = apply(config, device, now, false);

	if (err == 0)
		config_end_replay(device);
	return err;
}
