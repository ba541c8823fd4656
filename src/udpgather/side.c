/* SPDX-License-Identifier: MIT */
/*
 * Three parts: counting the bytes of each endpoint while the main socket is
 * crowded; moving endpoints to a side socket and back; and the look at the sockets
 * that decides about moving. side.h has the idea.
 */
#include "udpgather/side.h"

#include <assert.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	/* Parts of the main buffer; these numbers are choices, tried with links
	 * of 2 Mbit/s (tests/netns/slow.py). If a quarter has been in use for
	 * CROWDED_MS, or half of it is in use, an endpoint is moved. */
	CROWDED_PART = 4,
	FULL_PART = 2,
	CROWDED_MS = 10,
	/* Before the next endpoint is moved, the waiting bytes must have grown
	 * by this part of the buffer. */
	RISE_PART = 16,
	/* The sockets are looked at each time that this part of the buffer was
	 * sent. */
	STRIDE_PART = 8,
	/* Time between two looks while the main socket is crowded, and while it
	 * is not, but an endpoint leaves by a side socket. */
	LOOK_MS = 1,
	MOVED_LOOK_MS = 100,
	/* How long a side socket is empty before its endpoints come back. */
	EMPTY_MS = 1000,
	/* Low bits of an entry that hold the way. */
	WAY_MASK = 15,
};

static_assert((int)UG_MAX_SIDE_SOCKETS <= (int)WAY_MASK, "a way fits its bits");

void ug_side_init(struct side_sockets *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->seed = seed;
	for (int i = 0; i < UG_MAX_SIDE_SOCKETS; i++)
		s->fds[i] = -1;
	pthread_mutex_init(&s->mutex, NULL);
}

void ug_side_deinit(struct side_sockets *s)
{
	pthread_mutex_destroy(&s->mutex);
}

/* An endpoint's key: never 0, the low bits free for the way. */
static uint64_t key_of(const struct side_sockets *s,
		       const struct ug_endpoint *ep)
{
	return (ug_endpoint_hash(ep, s->seed) & ~(uint64_t)WAY_MASK) |
	       (uint64_t)(WAY_MASK + 1);
}

static uint64_t get_entry(const struct side_sockets *s, unsigned int i)
{
	/* Partners: move(), come_back(). */
	return atomic_load_explicit(&s->moved[i], memory_order_relaxed);
}

unsigned int ug_side_way(const struct side_sockets *s,
			 const struct ug_endpoint *ep)
{
	uint64_t key = key_of(s, ep);

	for (unsigned int i = 0; i < SIDE_ENDPOINTS; i++) {
		uint64_t entry = get_entry(s, i);

		if ((entry & ~(uint64_t)WAY_MASK) == key)
			return (unsigned int)(entry & WAY_MASK);
	}
	return SIDE_MAIN;
}

/* ----------------------------------------------------------------- counting */

/*
 * Find or make the count of an endpoint. If all places are in use, the endpoint
 * takes over the smallest count, with its bytes. So an endpoint with more than a
 * sixteenth of all bytes always has a place.
 */
static struct side_count *find_count(struct side_sockets *s, uint64_t key,
				     const struct ug_endpoint *ep)
{
	struct side_count *least = &s->counts[0];

	for (unsigned int i = 0; i < s->n_counts; i++) {
		if (s->counts[i].key == key)
			return &s->counts[i];
		if (s->counts[i].len < least->len)
			least = &s->counts[i];
	}
	if (s->n_counts < SIDE_COUNTED) {
		least = &s->counts[s->n_counts++];
		least->len = 0;
	}
	least->key = key;
	least->ep = *ep;
	return least;
}

void ug_side_count(struct side_sockets *s, const struct ug_endpoint *ep,
		   uint64_t len)
{
	/* Another thread is looking at the sockets: do not count. */
	if (pthread_mutex_trylock(&s->mutex))
		return;
	find_count(s, key_of(s, ep), ep)->len += len;
	pthread_mutex_unlock(&s->mutex);
}

static const struct side_count *heaviest(const struct side_sockets *s)
{
	const struct side_count *most = NULL;

	for (unsigned int i = 0; i < s->n_counts; i++)
		if ((!most || s->counts[i].len > most->len) &&
		    ug_side_way(s, &s->counts[i].ep) == SIDE_MAIN)
			most = &s->counts[i];
	return most;
}

/* ------------------------------------------------------------------ moving */

/* Bytes that wait in a socket; 0 if the kernel does not tell. */
static int64_t get_waiting(const struct ug_sys *sys, int fd)
{
	int waiting = 0;

	return sys->ioctl(fd, SIOCOUTQ, &waiting) < 0 || waiting < 0 ? 0
								     : waiting;
}

static unsigned int count_endpoints(const struct side_sockets *s,
				    unsigned int way)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < SIDE_ENDPOINTS; i++) {
		uint64_t entry = get_entry(s, i);

		n += entry && (entry & WAY_MASK) == way;
	}
	return n;
}

/* The side socket with the fewest waiting bytes; among equals, the one with the
 * fewest endpoints. Return: its way. */
static unsigned int choose_way(const struct side_sockets *s,
			       const struct ug_sys *sys)
{
	unsigned int best = 0, fewest = 0;
	int64_t least = 0;

	for (unsigned int way = 1; way <= s->n; way++) {
		int64_t waiting = get_waiting(sys, s->fds[way - 1]);
		unsigned int n = count_endpoints(s, way);

		if (best &&
		    (waiting > least || (waiting == least && n >= fewest)))
			continue;
		best = way;
		least = waiting;
		fewest = n;
	}
	return best;
}

/* UINT32_MAX subtracts 1. */
static void add_moved(struct side_sockets *s, uint32_t n)
{
	/* Partner: ug_side_in_use(). */
	atomic_fetch_add_explicit(&s->n_moved, n, memory_order_relaxed);
}

/* Move the endpoint that was sent most bytes. Return: false if there is none, or
 * no place for it. */
static bool move(struct side_sockets *s, const struct ug_sys *sys,
		 struct side_news *news)
{
	const struct side_count *most = heaviest(s);
	unsigned int i = 0;

	while (i < SIDE_ENDPOINTS && get_entry(s, i))
		i++;
	if (!most || i == SIDE_ENDPOINTS)
		return false;
	unsigned int way = choose_way(s, sys);

	/* Partner: ug_side_way(). */
	atomic_store_explicit(&s->moved[i], most->key | way,
			      memory_order_relaxed);
	add_moved(s, 1);
	s->empty_ms[way - 1] = -1;
	*news = (struct side_news){ .moved = true, .ep = most->ep, .way = way };
	return true;
}

/* Let the endpoints of a side socket leave by the main socket again. */
static void come_back(struct side_sockets *s, unsigned int way)
{
	for (unsigned int i = 0; i < SIDE_ENDPOINTS; i++) {
		uint64_t entry = get_entry(s, i);

		if (!entry || (entry & WAY_MASK) != way)
			continue;
		/* Partner: ug_side_way(). */
		atomic_store_explicit(&s->moved[i], 0, memory_order_relaxed);
		add_moved(s, UINT32_MAX);
	}
}

/* ------------------------------------------------------------------- looks */

static void set_crowded(struct side_sockets *s, bool is_crowded, int64_t now)
{
	s->crowded_ms = now;
	/* Partner: ug_side_is_counting(). */
	atomic_store_explicit(&s->is_crowded, is_crowded, memory_order_relaxed);
}

/* Is it time to move an endpoint away from the main socket? */
static bool must_move(const struct side_sockets *s, int64_t waiting,
		      int64_t now, bool was_full)
{
	/* The waiting bytes may still be those of the endpoint that was moved
	 * last. Another one is moved only if they have grown since, or if the
	 * socket is full. */
	if (!was_full && waiting - s->low < s->main_cap / RISE_PART)
		return false;
	return was_full || waiting >= s->main_cap / FULL_PART ||
	       now - s->crowded_ms >= CROWDED_MS;
}

static bool look_at_main(struct side_sockets *s, const struct ug_sys *sys,
			 int main_fd, bool was_full, struct side_news *news)
{
	int64_t waiting = get_waiting(sys, main_fd), now = sys->now_ms();

	if (waiting < s->low)
		s->low = waiting;
	if (waiting < s->main_cap / CROWDED_PART && !was_full) {
		s->n_counts = 0;
		if (ug_side_is_counting(s))
			set_crowded(s, false, now);
		return false;
	}
	if (!ug_side_is_counting(s))
		set_crowded(s, true, now);
	if (!must_move(s, waiting, now, was_full) || !move(s, sys, news))
		return false;
	s->low = waiting;
	s->n_counts = 0;
	set_crowded(s, true, now);
	return true;
}

static void look_at_sides(struct side_sockets *s, const struct ug_sys *sys,
			  int64_t now)
{
	for (unsigned int i = 0; i < s->n; i++) {
		if (!count_endpoints(s, i + 1))
			continue;
		if (get_waiting(sys, s->fds[i]))
			s->empty_ms[i] = -1;
		else if (s->empty_ms[i] < 0)
			s->empty_ms[i] = now;
		else if (now - s->empty_ms[i] >= EMPTY_MS)
			come_back(s, i + 1);
	}
}

static bool look_at_sockets(struct side_sockets *s, const struct ug_sys *sys,
			    int main_fd, bool was_full, struct side_news *news)
{
	int64_t now = sys->now_ms();
	bool has_news;

	if (pthread_mutex_trylock(&s->mutex))
		return false;
	if (ug_side_in_use(s))
		look_at_sides(s, sys, now);
	has_news = look_at_main(s, sys, main_fd, was_full, news);
	/* Partner: is_due(). */
	atomic_store_explicit(
		&s->next_look_ms,
		now + (ug_side_is_counting(s) ? LOOK_MS : MOVED_LOOK_MS),
		memory_order_relaxed);
	pthread_mutex_unlock(&s->mutex);
	return has_news;
}

/* Is it time to look, by the clock? Only if the main socket is crowded or an
 * endpoint is moved. */
static bool is_due(const struct side_sockets *s, const struct ug_sys *sys)
{
	/* Partner: look_at_sockets(). */
	return (ug_side_in_use(s) || ug_side_is_counting(s)) &&
	       sys->now_ms() >= atomic_load_explicit(&s->next_look_ms,
						     memory_order_relaxed);
}

bool ug_side_note(struct side_sockets *s, const struct ug_sys *sys, int main_fd,
		  uint64_t len, bool was_full, struct side_news *news)
{
	/* The sum is not exact: of two threads that add at once, one may be
	 * lost. */
	uint64_t sum =
		atomic_load_explicit(&s->handed, memory_order_relaxed) + len;
	bool is_time = sum >= (uint64_t)s->main_cap / STRIDE_PART || was_full ||
		       is_due(s, sys);

	atomic_store_explicit(&s->handed, is_time ? 0 : sum,
			      memory_order_relaxed);
	return is_time && look_at_sockets(s, sys, main_fd, was_full, news);
}

/* ------------------------------------------------------------------- input */

void ug_side_set_input(struct side_sockets *s, unsigned int i)
{
	/* Partner: ug_side_take_input(). */
	atomic_fetch_or_explicit(&s->has_input, UINT32_C(1) << i,
				 memory_order_relaxed);
}

int ug_side_take_input(struct side_sockets *s)
{
	/* Partner: ug_side_set_input(). Usually there is no input. */
	uint32_t all =
		atomic_load_explicit(&s->has_input, memory_order_relaxed);

	if (!all)
		return -1;
	int i = __builtin_ctz(all);

	atomic_fetch_and_explicit(&s->has_input, ~(UINT32_C(1) << i),
				  memory_order_relaxed);
	return i;
}
