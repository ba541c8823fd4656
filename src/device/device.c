/* SPDX-License-Identifier: MIT */
/*
 * The device's identity, its set of peers, and the control thread's look at
 * what is due. Everything else that a device does is in the files of its parts.
 */
#include "device/device.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "crypto/secret.h"

/*
 * What is made up for if greetings are late: 45 for this time of the control thread, and
 * up to GREETINGS_WAITING_MAX that wait for the thread that makes them. With the 900 of a
 * second that is less than 1,000. See device_set_up().
 */
#define GREETING_LATE_NS (50 * NSEC_PER_MSEC)

/* While more wait, the next greeting is tried again after this time. A choice. */
#define GREETING_PAUSE_NS (2 * NSEC_PER_MSEC)

enum {
	GREETINGS_WAITING_MAX = 50,
};

static struct peer *peer_of(struct noise_handshake *hs)
{
	return container_of(hs, struct peer, handshake);
}

/* The calls of struct noise_ops. @arg is the device. */
static void local_random(void *arg, void *buf, size_t len)
{
	struct device *device = arg;

	device->ops->random(device->arg, buf, len);
}

static struct noise_handshake *
find_peer(void *arg, const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct device *device = arg;
	struct peer *peer;

	rcu_enter();
	peer = device_lookup_peer(device, key);
	if (peer && !peer_get(peer))
		peer = NULL;
	rcu_leave();
	return peer ? &peer->handshake : NULL;
}

static void release_peer(void *arg, struct noise_handshake *hs)
{
	(void)arg;
	peer_put(peer_of(hs));
}

static int publish_index(void *arg, struct noise_handshake *hs, uint32_t *idx)
{
	struct device *device = arg;

	return index_new(&device->index, hs, peer_of(hs)->lane, idx);
}

static int local_index_replace(void *arg, uint32_t idx,
			       struct noise_handshake *hs,
			       struct noise_keypair *kp)
{
	struct device *device = arg;

	return index_replace(&device->index, idx, hs, kp);
}

static int insert_index(void *arg, uint32_t idx, struct noise_handshake *hs,
			struct noise_keypair *kp)
{
	struct device *device = arg;

	return index_insert(&device->index, hs, kp, peer_of(hs)->lane, idx);
}

static void drop_index(void *arg, uint32_t idx)
{
	struct device *device = arg;

	index_drop(&device->index, idx);
}

static const struct noise_ops local_ops = {
	.random = local_random,
	.find_peer = find_peer,
	.release_peer = release_peer,
	.publish_index = publish_index,
	.index_replace = local_index_replace,
	.insert_index = insert_index,
	.drop_index = drop_index,
};

static uint64_t peer_hash(const void *entry, const void *arg)
{
	const struct peer *peer = entry;

	return siphash(peer->public_key, sizeof(peer->public_key), arg);
}

int device_init(struct device *device, const struct device_ops *ops, void *arg)
{
	uint8_t seed[16];

	memset(device, 0, sizeof(*device));
	device->ops = ops;
	device->arg = arg;
	ops->random(arg, device->hash_key, sizeof(device->hash_key));
	ops->random(arg, seed, sizeof(seed));
	device->ratelimit = ratelimit_new(seed);
	if (!device->ratelimit)
		return -ENOMEM;
	device->staged = staged_pool_new(STAGED_DEFAULT_BLOCKS);
	if (!device->staged)
		goto err_free_ratelimit;
	if (noise_local_init(&device->local, &local_ops, device) < 0)
		goto err_free_staged;
	cookie_checker_init(&device->checker, &device->local);
	index_init(&device->index, ops->random, arg);
	allowedips_init(&device->allowedips);
	table_init(&device->by_key, peer_hash, device->hash_key);
	list_init(&device->peers);
	schedule_init(&device->schedule);
	pthread_mutex_init(&device->poke_lock, NULL);
	list_init(&device->poked);
	return 0;

err_free_staged:
	staged_pool_free(device->staged);
err_free_ratelimit:
	ratelimit_free(device->ratelimit);
	return -ENOMEM;
}

void device_set_lanes(struct device *device, unsigned int n)
{
	INVARIANT(n >= 1 && n <= INDEX_LANES_MAX && !device->n_peers);
	device->index.n_lanes = n;
}

/* Returns the first poked peer with the list's reference, or NULL. */
static struct peer *pop_poked(struct device *device)
{
	struct list *item;
	struct peer *peer = NULL;

	pthread_mutex_lock(&device->poke_lock);
	item = list_pop(&device->poked);
	if (item) {
		peer = container_of(item, struct peer, poked);
		peer->is_poked = false;
	}
	pthread_mutex_unlock(&device->poke_lock);
	return peer;
}

/*
 * The references that are left are those of the set and of the poked list. The
 * peers, their keypairs and the index entries are freed after a grace period.
 * Their destructors use the device, so rcu_drain() comes before its parts go.
 */
void device_deinit(struct device *device)
{
	struct peer *peer;

	while (!list_is_empty(&device->peers))
		device_remove_peer(device,
				   container_of(device->peers.next, struct peer,
						in_device));
	while ((peer = pop_poked(device)))
		peer_put(peer);
	rcu_drain();
	allowedips_deinit(&device->allowedips);
	table_deinit(&device->by_key);
	index_deinit(&device->index);
	schedule_deinit(&device->schedule);
	cookie_checker_deinit(&device->checker);
	noise_local_deinit(&device->local);
	staged_pool_free(device->staged);
	ratelimit_free(device->ratelimit);
	pthread_mutex_destroy(&device->poke_lock);
	secret_zero(device, sizeof(*device));
}

bool device_is_own_key(struct device *device,
		       const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	uint8_t own[NOISE_PUBLIC_KEY_LEN];

	return noise_local_get_keys(&device->local, NULL, own) &&
	       !memcmp(own, key, sizeof(own));
}

struct peer *device_lookup_peer(const struct device *device,
				const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	const struct table_slots *slots = rcu_load(device->by_key.slots);
	uint64_t pos = siphash(key, NOISE_PUBLIC_KEY_LEN, device->hash_key);
	struct peer *peer;

	if (!slots)
		return NULL;
	do {
		peer = table_probe(slots, &pos);
	} while (peer &&
		 memcmp(peer->public_key, key, sizeof(peer->public_key)) != 0);
	return peer;
}

int device_reserve_peers(struct device *device, size_t n)
{
	int err;

	if (n > DEVICE_MAX_PEERS || device->n_peers > DEVICE_MAX_PEERS - n)
		return -ENOSPC;
	err = schedule_reserve(&device->schedule, device->n_peers + n);
	if (err < 0)
		return err;
	return table_reserve(&device->by_key, n);
}

void device_add_peer(struct device *device, struct peer *peer)
{
	int err;

	/* Before other threads can find the peer: both calls clear its
	 * timers. */
	if (atomic_load_explicit(&device->is_up, memory_order_relaxed))
		peer_start(peer);
	else
		peer_stop(peer);
	err = table_insert(&device->by_key, peer);
	INVARIANT(err == 0 && !peer->is_configured);
	list_push(&device->peers, &peer->in_device);
	device->n_peers++;
	device->generation++;
	peer->serial = ++device->next_serial;
	peer->is_configured = true;
	if (device->recorder)
		device->recorder->added(device->recorder_arg, peer);
	device_tell(peer, DEVICE_PEER_ADDED, NULL);
}

void device_remove_peer(struct device *device, struct peer *peer)
{
	bool was_there = table_remove(&device->by_key, peer);

	INVARIANT(was_there && peer->is_configured);
	peer_stop(peer);
	noise_handshake_forget(&peer->handshake);
	allowedips_remove_owner(&device->allowedips, &peer->allowedips);
	list_remove(&peer->in_device);
	device->n_peers--;
	device->generation++;
	peer->is_configured = false;
	if (device->recorder)
		device->recorder->removed(device->recorder_arg, peer);
	device_tell(peer, DEVICE_PEER_REMOVED, NULL);
	peer_put(peer);
}

void device_set_recorder(struct device *device,
			 const struct device_recorder *recorder, void *arg)
{
	device->recorder = recorder;
	device->recorder_arg = arg;
}

void device_note(struct peer *peer)
{
	struct device *device = peer->device;

	if (device->recorder)
		device->recorder->note(device->recorder_arg, peer);
}

void device_note_port(struct device *device, uint16_t port)
{
	if (device->listen_port == port)
		return;
	device->listen_port = port;
	if (device->recorder)
		device->recorder->port(device->recorder_arg);
}

/* @fn may not remove peers. */
static void for_each_peer(struct device *device,
			  void (*fn)(struct peer *peer, uint64_t now),
			  uint64_t now)
{
	struct list *item;

	list_for_each(item, &device->peers)
		fn(container_of(item, struct peer, in_device), now);
}

static void bring_down(struct peer *peer, uint64_t now)
{
	(void)now;
	peer_stop(peer);
}

static void bring_up(struct peer *peer, uint64_t now)
{
	(void)now;
	peer_start(peer);
	/* The timers were cleared, so a persistent keepalive is overdue. A peer
	 * that is to be greeted has to wait for its turn. */
	if (!peer->had_session &&
	    atomic_load_explicit(&peer->timers.persistent_s,
				 memory_order_relaxed))
		device_poke_peer(peer);
	/* peer_start() has cleared the request of a packet that was staged
	 * just before, so ask again. */
	if (!staged_is_empty(&peer->staged) &&
	    timers_want_handshake(&peer->timers))
		device_poke_peer(peer);
}

/* When to greet the @n-th peer; the first has the number 0. See device_set_up(). */
static uint64_t greeting_at(size_t n, uint64_t now)
{
	const size_t n_first = 500, n_next = 900;

	if (n < n_first)
		return now + n * NSEC_PER_SEC / n_first;
	return now + NSEC_PER_SEC + (n - n_first) * NSEC_PER_SEC / n_next;
}

/* Give each peer that another process had a session with the time of its greeting. */
static void plan_greetings(struct device *device, uint64_t now)
{
	struct list *item;
	size_t n = 0;

	device->greet_delay_ns = 0;
	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (!peer->had_session)
			continue;
		peer->greet_ns = greeting_at(n++, now);
		schedule_set(&device->schedule, &peer->due, peer->greet_ns);
	}
	if (n)
		device->ops->wake(device->arg);
}

void device_set_up(struct device *device, bool is_up, uint64_t now)
{
	if (atomic_load_explicit(&device->is_up, memory_order_relaxed) == is_up)
		return;
	/* Relaxed: a thread that still reads the old value finds a closed
	 * handshake and no keypair, or stages a packet that the next
	 * peer_stop() or peer_start() drops. */
	atomic_store_explicit(&device->is_up, is_up, memory_order_relaxed);
	for_each_peer(device, is_up ? bring_up : bring_down, now);
	if (is_up)
		plan_greetings(device, now);
}

/* Asks for a handshake. While the device is down this has no effect:
 * peer_start() clears the request. */
static void greet(struct peer *peer)
{
	timers_want_handshake(&peer->timers);
	device_poke_peer(peer);
}

/* For a change of our private key: what was agreed with the old key is void. */
static void end_sessions(struct peer *peer, uint64_t now)
{
	(void)now;
	noise_handshake_clear(&peer->handshake);
	noise_keypairs_expire_current(&peer->keypairs);
	timers_expire_handshake(&peer->timers);
	/* If the timers were attempting a handshake, they begin a new attempt. */
	device_poke_peer(peer);
}

/* For our first private key: begins the handshakes that waited for it. */
static void catch_up(struct peer *peer, uint64_t now)
{
	(void)now;
	if (!staged_is_empty(&peer->staged) ||
	    atomic_load_explicit(&peer->timers.persistent_s,
				 memory_order_relaxed))
		greet(peer);
}

void device_set_private_key(struct device *device,
			    const uint8_t key[NOISE_PRIVATE_KEY_LEN])
{
	uint8_t own[NOISE_PUBLIC_KEY_LEN];
	bool had_key = noise_local_get_keys(&device->local, NULL, NULL);
	struct peer *twin = NULL;

	if (!noise_local_set_private_key(&device->local, key))
		return;
	device->generation++;
	if (noise_local_get_keys(&device->local, NULL, own)) {
		cookie_checker_set_key(&device->checker, own);
		twin = device_lookup_peer(device, own);
	} else {
		cookie_checker_set_key(&device->checker, NULL);
	}
	if (twin)
		device_remove_peer(device, twin);
	for_each_peer(device, end_sessions, 0);
	if (!had_key)
		for_each_peer(device, catch_up, 0);
}

/* The handshake is cleared before the keypairs. Another thread may be completing
 * the handshake: either it has already put the new keypair into a slot, and the
 * slot is cleared next, or it finds the handshake cleared, and fails. */
static void renew(struct peer *peer, uint64_t now)
{
	(void)now;
	noise_handshake_clear(&peer->handshake);
	cookie_maker_forget(&peer->cookie);
	timers_expire_handshake(&peer->timers);
	if (noise_keypairs_clear(&peer->keypairs))
		greet(peer);
	else
		device_poke_peer(peer);
}

void device_renew(struct device *device)
{
	cookie_checker_forget(&device->checker);
	/* Without a private key the checker's key is a random one, which a
	 * copy of this machine has, too: draw another. */
	if (!noise_local_get_keys(&device->local, NULL, NULL))
		cookie_checker_set_key(&device->checker, NULL);
	for_each_peer(device, renew, 0);
}

void device_poke_peer(struct peer *peer)
{
	struct device *device = peer->device;
	bool is_first = false;

	pthread_mutex_lock(&device->poke_lock);
	if (!peer->is_poked && peer_get(peer)) {
		is_first = list_is_empty(&device->poked);
		peer->is_poked = true;
		list_push(&device->poked, &peer->poked);
	}
	pthread_mutex_unlock(&device->poke_lock);
	if (is_first)
		device->ops->wake(device->arg);
}

void device_learn_endpoint(struct peer *peer, const struct device_endpoint *ep)
{
	struct device *device = peer->device;
	struct device_endpoint was;

	if (!endpoint_cell_learn(&peer->endpoint, ep, &was))
		return;
	device->ops->endpoint_learnt(device->arg);
	device_note(peer);
	device_tell(peer, DEVICE_ENDPOINT_CHANGED, &was);
}

void device_tell(struct peer *peer, enum device_event event,
		 const struct device_endpoint *was)
{
	struct device *device = peer->device;

	if (device->ops->event)
		device->ops->event(device->arg, event, peer, was);
}

/* Lets the route choose the local address again. */
static void forget_source(struct peer *peer)
{
	struct device *device = peer->device;
	struct device_endpoint was;
	struct device_endpoint next;

	if (!endpoint_cell_get(&peer->endpoint, &was))
		return;
	next = was;
	device->ops->forget_source(device->arg, &next);
	endpoint_cell_replace(&peer->endpoint, &was, &next);
}

/* Wipes old keypairs only, and no handshake that is under way: another
 * thread may be agreeing on new keys, or a response may be on its way. */
static void zero_keys(struct peer *peer, uint64_t now)
{
	if (noise_keypairs_wipe_old(&peer->keypairs, TIMERS_ZERO_NS, now))
		device_tell(peer, DEVICE_SESSION_ENDED, NULL);
	if (!peer->timers.is_attempting &&
	    noise_handshake_clear_unless_busy(&peer->handshake, now))
		return;
	timers_zero_later(&peer->timers, now);
	/* The next look puts the new deadline into the schedule. */
	device_poke_peer(peer);
}

static void act_on_timers(struct peer *peer, unsigned int actions, uint64_t now)
{
	struct device *device = peer->device;

	if (actions & TIMERS_SILENT)
		device_tell(peer, DEVICE_PEER_SILENT, NULL);
	if (actions & TIMERS_DROP_STAGED) {
		staged_clear(device->staged, &peer->staged);
		device_tell(peer, DEVICE_ATTEMPT_ENDED, NULL);
	}
	if (actions & TIMERS_ZERO_KEYS)
		zero_keys(peer, now);
	if (actions & TIMERS_FORGET_SOURCE)
		forget_source(peer);
	if (actions & TIMERS_INITIATE)
		device->ops->send_initiation(device->arg, peer);
	if (actions & TIMERS_KEEPALIVE)
		device->ops->send_keepalive(device->arg, peer);
}

/* Does the thread that makes initiations have so many to make that greetings wait? */
static bool is_making_late(const struct device *device)
{
	const struct device_ops *ops = device->ops;

	return ops->count_initiations &&
	       ops->count_initiations(device->arg) >= GREETINGS_WAITING_MAX;
}

/* Begins the handshake with a peer that another process had a session with, if its
 * time has come. Returns that time, or SCHEDULE_NEVER. */
static uint64_t greet_late(struct peer *peer, uint64_t now)
{
	struct device *device = peer->device;
	uint64_t at = peer->greet_ns + device->greet_delay_ns;

	if (!peer->had_session)
		return SCHEDULE_NEVER;
	if (!peer_has_session(peer, now)) {
		if (now < at)
			return at;
		/* A thread was held up: all that follow come later, too. */
		if (is_making_late(device)) {
			device->greet_delay_ns += now + GREETING_PAUSE_NS - at;
			return now + GREETING_PAUSE_NS;
		}
		if (now - at > GREETING_LATE_NS)
			device->greet_delay_ns += now - at;
		timers_want_handshake(&peer->timers);
	}
	peer->had_session = false;
	return SCHEDULE_NEVER;
}

/* Does what is due for a peer, and sets its next deadline. The peer may have
 * left the set. */
static void look_at(struct device *device, struct peer *peer, uint64_t now)
{
	struct timers_verdict verdict;
	uint64_t greet_ns;
	uint32_t random;

	if (!peer->is_configured ||
	    !atomic_load_explicit(&device->is_up, memory_order_relaxed)) {
		schedule_set(&device->schedule, &peer->due, SCHEDULE_NEVER);
		return;
	}
	device->ops->random(device->arg, &random, sizeof(random));
	greet_ns = greet_late(peer, now);
	verdict = timers_check(&peer->timers, now, random);
	schedule_set(&device->schedule, &peer->due,
		     greet_ns < verdict.next_ns ? greet_ns : verdict.next_ns);
	if (verdict.actions)
		act_on_timers(peer, verdict.actions, now);
	device_note(peer);
}

uint64_t device_tick(struct device *device, uint64_t now)
{
	struct schedule_entry *first;
	struct peer *peer;

	while ((first = schedule_first(&device->schedule)) &&
	       first->due_ns <= now)
		look_at(device, container_of(first, struct peer, due), now);
	while ((peer = pop_poked(device))) {
		look_at(device, peer, now);
		peer_put(peer);
	}
	first = schedule_first(&device->schedule);
	return first ? first->due_ns : SCHEDULE_NEVER;
}
