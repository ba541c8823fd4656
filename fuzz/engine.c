/* SPDX-License-Identifier: MIT */
/*
 * Datagrams and packets from outside, through the whole engine: message types,
 * receiver indices, handshakes with and without load, sessions and their end,
 * replays, inner sources, roaming.
 *
 * Input: steps, each a byte and its arguments. The other side is the reference
 * (fuzz/reference.c). It has valid keys and is honest, but the input may change
 * its messages, and may have their macs recomputed. A second peer never sends;
 * its addresses lie inside the first one's. A stranger has read indices from
 * passing messages, and sends answers to them.
 *
 * Promises: a packet reaches the TUN only if the peer sealed exactly these
 * bytes and the inner source is the peer's own address, and each message is
 * delivered once. Outgoing messages are valid: the reference accepts every
 * initiation and answer; data messages open with a key that it has, use no
 * counter twice, and carry a packet of the TUN to the right peer, once.
 */
#include "fuzz/reference.h"

#include "base/clock.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "fuzz/engine_world.h"
#include "fuzz/fuzz.h"
#include "fuzz/input.h"

enum {
	/* Bounds of the time and the memory for one input. Choices. */
	STEPS_MAX = 96,
	SESSIONS = 16,
	SEALED_MAX = 128,
	FED_MAX = 128,
	TEXT_MAX = 512,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	/* Changes of a message. */
	HOW_EDIT = 1,
	HOW_MACS = 2,
	HOW_COOKIE = 4,
	HOW_TWICE = 8,
	/* The message comes from a stranger who has read an index. */
	HOW_STRANGER = 32,
};

enum step {
	STEP_INITIATE,
	STEP_RESPOND,
	STEP_COOKIE,
	STEP_DATA,
	STEP_RAW,
	STEP_RUN,
	STEP_TIME,
	STEP_PACKET,
	STEP_LOAD,
	STEP_ROAM,
	STEP_FULL,
	STEP_DOWN,
	N_STEPS,
};

/* A session that the reference has. */
struct session {
	uint8_t to_us[REF_KEY];
	uint8_t to_them[REF_KEY];
	uint32_t our_idx;
	uint32_t their_idx;
	uint64_t next;	  /* lowest counter that we may use next */
	uint64_t counter; /* the next counter of the other side */
};

/* An unchanged message of the other side. */
struct sealed {
	unsigned int session;
	uint64_t counter;
	bool is_delivered;
	size_t len;
	uint8_t text[TEXT_MAX];
};

/* A packet that was sent through our TUN. */
struct fed {
	bool is_sent;
	bool is_refused;
	size_t len;
	uint8_t bytes[TEXT_MAX];
};

static const uint8_t our_key[REF_KEY] = { 8, 1, [31] = 0x40 };
static const uint8_t their_key[REF_KEY] = { 16, 2, [31] = 0x41 };
static const uint8_t psk[REF_KEY] = { 3 };
static const uint8_t silent_key[REF_KEY] = { 9, 9, 9 };

static struct ref_side as_initiator, as_responder;
static struct session sessions[SESSIONS];
static unsigned int n_sessions;
static struct sealed sealed[SEALED_MAX];
static unsigned int n_sealed;
static struct fed fed[FED_MAX];
static unsigned int n_fed;
static struct ug_endpoint from;
static uint32_t n_made;
static uint8_t cookie[REF_TAG];
static bool has_cookie, can_respond;
/* The last messages of both sides, which cookies are made for. */
static uint8_t our_last[REF_INITIATION];
static size_t our_last_len;
static uint8_t their_last[REF_INITIATION];
static size_t their_last_len;

/* ------------------------------------------------------- what packets say */

/* The length of an IP packet in a padded plaintext; 0 if it is no IP packet. */
static size_t packet_len(const uint8_t *p, size_t len)
{
	size_t total = 0;

	if (len >= IPV4_LEN && p[0] >> 4 == 4)
		total = (size_t)(p[2] << 8 | p[3]);
	else if (len >= IPV6_LEN && p[0] >> 4 == 6)
		total = (size_t)(p[4] << 8 | p[5]) + IPV6_LEN;
	return total <= len && total >= IPV4_LEN ? total : 0;
}

/*
 * The other side has 10.0.0.0/8 and fd00::/8, except 10.9.0.0/16 and fd09::/16.
 */
static bool is_theirs(const uint8_t *addr, bool is_v4)
{
	return is_v4 ? addr[0] == 10 && addr[1] != 9
		     : addr[0] == 0xfd && addr[1] != 9;
}

static bool has_their_source(const uint8_t *p)
{
	return p[0] >> 4 == 4 ? is_theirs(p + 12, true)
			      : is_theirs(p + 8, false);
}

static bool has_their_destination(const uint8_t *p)
{
	return p[0] >> 4 == 4 ? is_theirs(p + 16, true)
			      : is_theirs(p + 24, false);
}

/* ------------------------------------------------------- what leaves us */

static void add_session(const struct ref_side *side)
{
	struct session *s = &sessions[n_sessions % SESSIONS];

	*s = (struct session){ .our_idx = side->peer_idx,
			       .their_idx = side->idx };
	memcpy(s->to_us, side->sending, REF_KEY);
	memcpy(s->to_them, side->receiving, REF_KEY);
	n_sessions++;
}

static unsigned int sessions_known(void)
{
	return n_sessions < SESSIONS ? n_sessions : SESSIONS;
}

static void check_sent_text(const uint8_t *text, size_t len)
{
	size_t n = packet_len(text, len);

	if (!len)
		return;
	require(n && has_their_destination(text));
	for (size_t i = n; i < len; i++)
		require(text[i] == 0);
	for (unsigned int i = 0; i < n_fed; i++) {
		/* The packet's length field may be below its real length. */
		if (fed[i].is_sent || fed[i].len < n ||
		    memcmp(fed[i].bytes, text, n) != 0)
			continue;
		fed[i].is_sent = true;
		return;
	}
	require(false);
}

static void take_data(const uint8_t *msg, size_t len)
{
	uint8_t text[WORLD_DATAGRAM_MAX];
	uint64_t counter;

	for (unsigned int i = 0; i < sessions_known(); i++) {
		struct session *s = &sessions[i];

		if (!ref_read_data(text, msg, len, s->to_them, s->their_idx,
				   &counter))
			continue;
		require(counter >= s->next);
		s->next = counter + 1;
		check_sent_text(text, len - REF_DATA - REF_TAG);
		return;
	}
	/* The keys of a session as old as this are no longer kept here. */
	require(n_sessions > SESSIONS);
}

static void on_sent(const uint8_t *msg, size_t len)
{
	struct ref_side next = as_responder;

	require(len >= REF_DATA + REF_TAG && msg[0] >= 1 && msg[0] <= 4);
	if (msg[0] == 4) {
		take_data(msg, len);
		return;
	}
	if (msg[0] == 1) {
		require(len == REF_INITIATION);
		require(ref_read_initiation(&next, msg, len));
		as_responder = next;
		can_respond = true;
	} else if (msg[0] == 2) {
		/* Another initiation may be on its way at the same time. */
		require(len == REF_RESPONSE);
		next = as_initiator;
		if (ref_read_response(&next, msg, len))
			add_session(&next);
	} else {
		/* A cookie reply is shorter than the message it answers,
		 * perhaps an earlier one. */
		require(len == REF_COOKIE);
		if (their_last_len &&
		    ref_read_reply(cookie, msg, len, as_initiator.peer,
				   their_last + their_last_len - REF_MACS))
			has_cookie = true;
		return;
	}
	memcpy(our_last, msg, len);
	our_last_len = len;
}

/* ------------------------------------------------------- what arrives */

/* Does this ICMP message quote a packet that had no peer or endpoint? */
static bool is_unreachable(const uint8_t *packet, size_t len)
{
	size_t head = packet[0] >> 4 == 4 ? IPV4_LEN + 8 : IPV6_LEN + 8;

	for (unsigned int i = 0; len > head && i < n_fed; i++) {
		if (fed[i].is_refused || fed[i].is_sent ||
		    fed[i].len < len - head ||
		    memcmp(fed[i].bytes, packet + head, len - head) != 0)
			continue;
		fed[i].is_refused = true;
		return true;
	}
	return false;
}

static bool was_delivered(const struct sealed *s)
{
	for (unsigned int i = 0; i < n_sealed; i++)
		if (sealed[i].is_delivered && sealed[i].session == s->session &&
		    sealed[i].counter == s->counter)
			return true;
	return false;
}

/* Congestion marks may differ: unreachable.c checks the table of RFC 6040. */
static bool is_same(const uint8_t *a, const uint8_t *b, size_t len)
{
	uint8_t x[TEXT_MAX], y[TEXT_MAX];
	bool is_v4 = a[0] >> 4 == 4;

	memcpy(x, a, len);
	memcpy(y, b, len);
	x[1] &= is_v4 ? 0xfc : 0xcf;
	y[1] &= is_v4 ? 0xfc : 0xcf;
	if (is_v4) {
		memset(x + 10, 0, 2);
		memset(y + 10, 0, 2);
	}
	return memcmp(x, y, len) == 0;
}

static void on_written(const uint8_t *packet, size_t len)
{
	for (unsigned int i = 0; i < n_sealed; i++) {
		struct sealed *s = &sealed[i];

		if (s->is_delivered || packet_len(s->text, s->len) != len ||
		    !is_same(s->text, packet, len) || was_delivered(s))
			continue;
		require(has_their_source(packet));
		s->is_delivered = true;
		return;
	}
	require(is_unreachable(packet, len));
}

/* ------------------------------------------------------- what they send */

static void push(struct input *in, uint8_t how, uint8_t *msg, size_t len)
{
	uint8_t tos = 0;

	if (how & HOW_EDIT)
		input_edit(in, msg, len);
	if (len >= REF_RESPONSE && msg[0] < 3 && how & (HOW_MACS | HOW_COOKIE))
		ref_add_macs(msg, len, as_initiator.peer,
			     how & HOW_COOKIE && has_cookie ? cookie : NULL);
	/* An edit may have given the message another type or length. */
	if ((msg[0] == 1 && len == REF_INITIATION) ||
	    (msg[0] == 2 && len == REF_RESPONSE)) {
		their_last_len = len;
		memcpy(their_last, msg, len);
	}
	tos = how >> 6;
	world_push(&world.datagrams, &from, tos, msg, len);
	if (how & HOW_TWICE)
		world_push(&world.datagrams, &from, tos, msg, len);
}

/* Make an ephemeral key, different each time. */
static void make_key(uint8_t key[REF_KEY])
{
	memset(key, 0x5a, REF_KEY);
	n_made++;
	memcpy(key + 4, &n_made, sizeof(n_made));
}

static void initiate(struct input *in, uint8_t how)
{
	uint8_t e_priv[REF_KEY], msg[REF_INITIATION];
	uint8_t stamp[REF_STAMP] = { 0x40 };

	make_key(e_priv);
	for (int i = 0; i < 4; i++)
		stamp[8 + i] = (uint8_t)(n_made >> (24 - 8 * i));
	if (how & 16)
		stamp[11] = input_byte(in);
	ref_write_initiation(&as_initiator, e_priv, n_made, stamp, NULL, msg);
	push(in, how, msg, sizeof(msg));
}

/*
 * Send a response with right macs, or a cookie reply, to the index of a
 * session: it must get no place in the queue.
 */
static void answer_session(struct input *in, uint8_t *msg, size_t len)
{
	const uint32_t n = world.handshaker.waiting.n;
	const struct session *s;
	bool is_live;

	if (!n_sessions)
		return;
	s = &sessions[(n_sessions - 1 - input_byte(in) % sessions_known()) %
		      SESSIONS];
	memset(msg, 0, len);
	msg[0] = len == REF_COOKIE ? 3 : 2;
	input_take(in, msg + 4, 16);
	for (int i = 0; i < 4; i++)
		msg[(len == REF_COOKIE ? 4 : 8) + i] =
			(uint8_t)(s->our_idx >> 8 * i);
	if (len == REF_RESPONSE)
		ref_add_macs(msg, len, as_initiator.peer,
			     has_cookie ? cookie : NULL);
	rcu_enter();
	is_live = index_lookup_keypair(&world.device.index, s->our_idx);
	rcu_leave();
	handshaker_receive(&world.handshaker, msg, len, &from, world.now);
	require(!is_live || world.handshaker.waiting.n == n);
}

static void respond(struct input *in, uint8_t how)
{
	uint8_t e_priv[REF_KEY], msg[REF_RESPONSE];
	struct ref_side copy = as_responder;

	if (how & HOW_STRANGER) {
		answer_session(in, msg, sizeof(msg));
		return;
	}
	if (!can_respond)
		return;
	make_key(e_priv);
	/* Keep the state, so that the initiation can be answered again. */
	ref_write_response(&copy, e_priv, n_made, NULL, msg);
	push(in, how, msg, sizeof(msg));
	/* A changed response may still be valid. */
	copy.idx = (uint32_t)(msg[4] | msg[5] << 8 | msg[6] << 16) |
		   (uint32_t)msg[7] << 24;
	add_session(&copy);
}

static void send_cookie(struct input *in, uint8_t how)
{
	uint8_t nonce[REF_NONCE], given[REF_TAG], msg[REF_COOKIE];

	if (how & HOW_STRANGER) {
		answer_session(in, msg, sizeof(msg));
		return;
	}
	if (!our_last_len)
		return;
	input_take(in, nonce, 4);
	memset(nonce + 4, 1, sizeof(nonce) - 4);
	memset(given, how, sizeof(given));
	ref_write_reply(msg, as_initiator.pub, our_last, our_last_len, given,
			nonce);
	push(in, how & (HOW_EDIT | HOW_TWICE), msg, sizeof(msg));
}

/* Take a packet from the input, perhaps with correct addresses and length. */
static size_t take_packet(struct input *in, uint8_t *p, bool is_from_them)
{
	uint8_t how = input_byte(in);
	size_t len = input_u16(in) % (TEXT_MAX - 16);
	size_t n = len > 64 ? 64 : len;

	memset(p, 0, TEXT_MAX);
	input_take(in, p, n);
	if (how & 1 && len >= IPV4_LEN) {
		p[0] = 0x45;
		p[2] = (uint8_t)(len >> 8);
		p[3] = (uint8_t)len;
		p[is_from_them ? 12 : 16] = 10;
		if (how & 2)
			p[is_from_them ? 13 : 17] = 9;
	} else if (how & 4 && len >= IPV6_LEN) {
		p[0] = 0x60;
		p[4] = (uint8_t)((len - IPV6_LEN) >> 8);
		p[5] = (uint8_t)(len - IPV6_LEN);
		p[is_from_them ? 8 : 24] = 0xfd;
		if (how & 2)
			p[is_from_them ? 9 : 25] = 9;
	}
	/* Pad the packet, as senders do. */
	return is_from_them && how & 8 ? (len + 15) & ~(size_t)15 : len;
}

static void send_data(struct input *in, uint8_t how)
{
	static uint8_t msg[REF_DATA + TEXT_MAX + REF_TAG];
	struct sealed *entry = &sealed[n_sealed];
	uint8_t which = input_byte(in);
	struct session *s;

	if (!n_sessions || n_sealed == SEALED_MAX)
		return;
	entry->session = (n_sessions - 1 - which % sessions_known()) % SESSIONS;
	s = &sessions[entry->session];
	entry->counter = s->counter++;
	/* Skip far ahead, or use a counter again. */
	if (how & 16)
		entry->counter = s->counter += input_u16(in);
	else if (how & 32)
		entry->counter -= input_byte(in);
	entry->len = take_packet(in, entry->text, true);
	if (which & 0x80)
		entry->len = 0;
	entry->is_delivered = false;
	ref_write_data(msg, s->to_us, s->our_idx, entry->counter, entry->text,
		       entry->len);
	n_sealed++;
	push(in, how, msg, REF_DATA + entry->len + REF_TAG);
}

static void send_raw(struct input *in)
{
	uint8_t msg[256];
	size_t len = input_byte(in);

	input_take(in, msg, len);
	world_push(&world.datagrams, &from, 0, msg, len);
}

/* ------------------------------------------------------- our own side */

static void feed_packet(struct input *in)
{
	struct fed *f = &fed[n_fed];

	if (n_fed == FED_MAX || world.packets.n == WORLD_QUEUE)
		return;
	*f = (struct fed){ 0 };
	f->len = take_packet(in, f->bytes, false);
	n_fed++;
	world_push(&world.packets, NULL, 0, f->bytes, f->len);
}

static void roam(struct input *in)
{
	memset(&from, 0, sizeof(from));
	from.addr.v4.sin_family = AF_INET;
	from.addr.v4.sin_port = input_u16(in);
	from.addr.v4.sin_addr.s_addr = input_u32(in);
}

static void pass_time(struct input *in)
{
	static const uint64_t units[] = { NSEC_PER_MSEC, NSEC_PER_SEC / 10,
					  NSEC_PER_SEC, 10 * NSEC_PER_SEC };
	uint8_t n = input_byte(in);

	world.now += units[n % 4] * (n / 4);
}

static void step(struct input *in)
{
	uint8_t what = input_byte(in) % N_STEPS, how = 0;

	if (what <= STEP_DATA)
		how = input_byte(in);
	switch ((enum step)what) {
	case STEP_INITIATE:
		initiate(in, how);
		break;
	case STEP_RESPOND:
		respond(in, how);
		break;
	case STEP_COOKIE:
		send_cookie(in, how);
		break;
	case STEP_DATA:
		send_data(in, how);
		break;
	case STEP_RAW:
		send_raw(in);
		break;
	case STEP_TIME:
		pass_time(in);
		break;
	case STEP_PACKET:
		feed_packet(in);
		break;
	case STEP_LOAD:
		world.handshaker.loaded_until = world.now + NSEC_PER_SEC;
		break;
	case STEP_ROAM:
		roam(in);
		break;
	case STEP_FULL:
		world.n_full = input_byte(in) % 8;
		break;
	case STEP_DOWN:
		device_set_up(&world.device, false, world.now);
		device_set_up(&world.device, true, world.now);
		break;
	case STEP_RUN:
	case N_STEPS:
	default:
		world_run();
	}
}

static void add_prefix(struct config *config, uint8_t family, uint8_t cidr,
		       uint8_t first, uint8_t second)
{
	struct ip_prefix prefix = { family, cidr, { first, second } };

	require(config_add_allowedip(config, &prefix) == 0);
}

static void configure(void)
{
	struct config *config = config_new();
	struct device_endpoint ep;

	roam(&(struct input){ (const uint8_t *)"\x12\x34\x7f\1\1\1", 6 });
	endpoint_to_device(&ep, &from);
	require(config && !config_set_private_key(config, our_key) &&
		!config_begin_peer(config, as_initiator.pub) &&
		!config_set_preshared_key(config, psk) &&
		!config_set_endpoint(config, &ep) &&
		!config_set_persistent(config, 25));
	add_prefix(config, IP_V4, 8, 10, 0);
	add_prefix(config, IP_V6, 8, 0xfd, 0);
	require(!config_begin_peer(config, silent_key));
	add_prefix(config, IP_V4, 16, 10, 9);
	add_prefix(config, IP_V6, 16, 0xfd, 9);
	require(config_apply(config, &world.device, world.now) == 0);
	config_free(config);
}

static void begin(void)
{
	uint8_t our_pub[REF_KEY];

	world.sent = on_sent;
	world.written = on_written;
	world_begin();
	ref_public(our_pub, our_key);
	ref_side_init(&as_initiator, their_key, our_pub, psk);
	as_responder = as_initiator;
	n_sessions = n_sealed = n_fed = n_made = 0;
	our_last_len = their_last_len = 0;
	has_cookie = can_respond = false;
	configure();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	begin();
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		step(&in);
	world_run();
	world_end();
	return 0;
}
