/* SPDX-License-Identifier: MIT */
/*
 * quic serve PORT CERT KEY BYTES - serve one QUIC connection after the other
 * quic connect ADDRESS:PORT CERT BYTES - send bytes to a server, then take its own
 *
 * ngtcp2 makes and reads the packets, GnuTLS is its TLS, and libudpgather moves them in
 * trains. A client trusts the certificates in the file CERT and no others. Each side
 * sends BYTES bytes that depend on their offset, and checks those that come.
 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <udpgather.h>

enum {
	SLOTS = 32,	   /* messages that are taken at once: a choice */
	PERIOD = 1000003,  /* of the pattern: a prime, so no block repeats it */
	CHUNK = 65536,	   /* the most that is offered to ngtcp2 at once */
	WINDOW = 16 << 20, /* bytes of flow control: a choice */
};

/* The program has one connection at a time; @conn is NULL if there is none. */
struct side {
	struct ug_socket *sock;
	struct ug_batch *batch;
	struct ug_receiver *rcv;
	gnutls_certificate_credentials_t cred;
	bool is_server;
	uint64_t to_send;
	ngtcp2_conn *conn;
	ngtcp2_crypto_conn_ref ref;
	gnutls_session_t tls;
	struct ug_endpoint peer;
	ngtcp2_path path;
	int64_t stream;
	uint64_t sent, received;
	uint64_t n_marked; /* packets that came with an ECN mark */
	bool fin_sent, fin_received;
	/* The packets of one round of sending, side by side, and their trains. */
	uint8_t data[UG_MAX_TRAIN_IPV6];
	size_t len;
	struct ug_train trains[UG_MAX_SEGMENTS];
	struct iovec iov[UG_MAX_SEGMENTS];
	size_t n_trains;
};

static uint8_t pattern[PERIOD + CHUNK]; /* the end repeats the beginning */

static void must(bool is_so, const char *what)
{
	if (!is_so) {
		fprintf(stderr, "quic: %s\n", what);
		exit(1);
	}
}

static ngtcp2_tstamp now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NGTCP2_SECONDS + (uint64_t)ts.tv_nsec;
}

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct side *)ref->user_data)->conn;
}

static void on_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
	(void)ctx;
	must(gnutls_rnd(GNUTLS_RND_RANDOM, dest, len) == 0,
	     "no random numbers");
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token,
		      size_t len, void *arg)
{
	(void)conn;
	(void)arg;
	on_rand(cid->data, len, NULL);
	cid->datalen = len;
	on_rand(token, NGTCP2_STATELESS_RESET_TOKENLEN, NULL);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): ngtcp2 chose the parameters */
static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t stream,
			  uint64_t off, const uint8_t *data, size_t len,
			  void *arg, void *stream_arg)
{
	struct side *s = arg;

	(void)stream_arg;
	/* ngtcp2 gives the bytes in order, and NULL for an end without bytes. A
	 * client may open one stream. */
	s->stream = stream;
	if (len &&
	    (len > CHUNK || memcmp(data, pattern + off % PERIOD, len) != 0)) {
		fprintf(stderr, "quic: wrong bytes from %" PRIu64 "\n", off);
		return NGTCP2_ERR_CALLBACK_FAILURE;
	}
	s->received += len;
	s->fin_received = flags & NGTCP2_STREAM_DATA_FLAG_FIN;
	ngtcp2_conn_extend_max_stream_offset(conn, stream, len);
	ngtcp2_conn_extend_max_offset(conn, len);
	return 0;
}

static const ngtcp2_callbacks callbacks = {
	.client_initial = ngtcp2_crypto_client_initial_cb,
	.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
	.encrypt = ngtcp2_crypto_encrypt_cb,
	.decrypt = ngtcp2_crypto_decrypt_cb,
	.hp_mask = ngtcp2_crypto_hp_mask_cb,
	.recv_retry = ngtcp2_crypto_recv_retry_cb,
	.recv_stream_data = on_stream_data,
	.rand = on_rand,
	.get_new_connection_id = on_new_cid,
	.update_key = ngtcp2_crypto_update_key_cb,
	.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
	.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
	.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* @hd: the header of a client's first packet; NULL in a client. */
static void open_connection(struct side *s, const ngtcp2_pkt_hd *hd)
{
	bool is_ipv4 = s->peer.addr.any.sa_family == AF_INET;
	ngtcp2_addr addr = { &s->peer.addr.any,
			     is_ipv4 ? sizeof(s->peer.addr.v4)
				     : sizeof(s->peer.addr.v6) };
	ngtcp2_cid scid = { .datalen = NGTCP2_MAX_CIDLEN },
		   dcid = { .datalen = NGTCP2_MAX_CIDLEN };
	static unsigned char name[] = "udpgather-example";
	static const char priority[] =
		"NORMAL:-VERS-ALL:+VERS-TLS1.3:%DISABLE_TLS13_COMPAT_MODE";
	const gnutls_datum_t alpn = { name, sizeof(name) - 1 };
	ngtcp2_transport_params params;
	ngtcp2_settings settings;
	int err;

	/* The library has the local address (source), so any constant will do here. */
	s->path = (ngtcp2_path){ .local = addr, .remote = addr };
	ngtcp2_settings_default(&settings);
	settings.initial_ts = now_ns();
	ngtcp2_transport_params_default(&params);
	params.initial_max_stream_data_bidi_local = WINDOW;
	params.initial_max_stream_data_bidi_remote = WINDOW;
	params.initial_max_data = WINDOW;
	params.initial_max_streams_bidi = s->is_server;
	params.max_idle_timeout = 30 * NGTCP2_SECONDS;
	params.disable_active_migration = 1;
	on_rand(scid.data, scid.datalen, NULL);
	on_rand(dcid.data, dcid.datalen, NULL);
	if (hd) {
		params.original_dcid = hd->dcid;
		err = ngtcp2_conn_server_new(&s->conn, &hd->scid, &scid,
					     &s->path, hd->version, &callbacks,
					     &settings, &params, NULL, s);
	} else {
		err = ngtcp2_conn_client_new(&s->conn, &dcid, &scid, &s->path,
					     NGTCP2_PROTO_VER_V1, &callbacks,
					     &settings, &params, NULL, s);
	}
	must(err == 0, "no QUIC connection");
	err = gnutls_init(&s->tls, hd ? GNUTLS_SERVER : GNUTLS_CLIENT);
	must(err == 0, "no TLS session");
	s->ref = (ngtcp2_crypto_conn_ref){ get_conn, s };
	gnutls_session_set_ptr(s->tls, &s->ref);
	if (hd) {
		err = ngtcp2_crypto_gnutls_configure_server_session(s->tls);
	} else {
		err = ngtcp2_crypto_gnutls_configure_client_session(s->tls);
		gnutls_session_set_verify_cert(s->tls, NULL, 0);
	}
	err |= gnutls_priority_set_direct(s->tls, priority, NULL);
	err |= gnutls_credentials_set(s->tls, GNUTLS_CRD_CERTIFICATE, s->cred);
	err |= gnutls_alpn_set_protocols(s->tls, &alpn, 1,
					 GNUTLS_ALPN_MANDATORY);
	must(err == 0, "TLS cannot start");
	ngtcp2_conn_set_tls_native_handle(s->conn, s->tls);
	s->stream = -1;
	s->sent = s->received = s->n_marked = 0;
	s->fin_sent = s->fin_received = false;
}

/* Put a packet behind the others: into the last train if it fits there. */
static void add_packet(struct side *s, size_t len, uint8_t tos)
{
	struct ug_train *t = &s->trains[s->n_trains];
	struct iovec *v = &s->iov[s->n_trains];

	/* A packet that was shorter than the first one has ended its train. */
	if (s->n_trains > 0 && t[-1].tos == tos && len <= t[-1].segment_len &&
	    v[-1].iov_len % t[-1].segment_len == 0) {
		v[-1].iov_len += len;
	} else {
		*v = (struct iovec){ s->data + s->len, len };
		*t = (struct ug_train){ .to = &s->peer, .iov = v, .n_iov = 1 };
		t->segment_len = (uint16_t)len;
		t->tos = tos;
		s->n_trains++;
	}
	s->len += len;
}

/* Return: the length of the packet; 0 if none can be sent now; an error of ngtcp2. */
static ngtcp2_ssize write_packet(struct side *s, size_t cap,
				 ngtcp2_pkt_info *info, ngtcp2_tstamp now)
{
	bool has_data = s->stream >= 0 && !s->fin_sent &&
			(!s->is_server || s->fin_received);
	uint64_t left = s->to_send - s->sent;
	ngtcp2_vec vec = { pattern + s->sent % PERIOD,
			   left < CHUNK ? left : CHUNK };
	bool is_last = has_data && vec.len == left;
	uint8_t *buf = s->data + s->len;
	ngtcp2_ssize taken = -1, n;

	n = ngtcp2_conn_writev_stream(
		s->conn, NULL, info, buf, cap, &taken,
		is_last ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0,
		has_data ? s->stream : -1, &vec, has_data, now);
	if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
		n = ngtcp2_conn_writev_stream(s->conn, NULL, info, buf, cap,
					      NULL, 0, -1, NULL, 0, now);
	if (taken >= 0) {
		s->sent += (uint64_t)taken;
		s->fin_sent = is_last && (size_t)taken == vec.len;
	}
	return n;
}

static void send_trains(struct side *s)
{
	/* For ngtcp2 a packet that is not sent is lost. So it learns that a probe is
	 * larger than the interface's MTU, which is EMSGSIZE here. */
	ug_send_trains(s->sock, s->batch, s->trains, sizeof(s->trains[0]),
		       s->n_trains, 100);
	s->n_trains = s->len = 0;
}

/* Send what ngtcp2 allows by now. Return: 0; an error of ngtcp2. */
static int send_packets(struct side *s)
{
	ngtcp2_tstamp now = now_ns();
	size_t quantum = ngtcp2_conn_get_send_quantum(s->conn);
	size_t cap = ngtcp2_conn_get_max_tx_udp_payload_size(s->conn);
	ngtcp2_pkt_info info;
	ngtcp2_ssize n = 1;

	/* An error means that the handshake is not over. */
	if (!s->is_server && s->stream < 0)
		ngtcp2_conn_open_bidi_stream(s->conn, &s->stream, NULL);
	for (int i = 0; i < UG_MAX_SEGMENTS && n > 0; i++) {
		if (s->len >= quantum || cap > sizeof(s->data) - s->len)
			break;
		n = write_packet(s, cap, &info, now);
		if (n > 0)
			add_packet(s, (size_t)n, (uint8_t)info.ecn);
	}
	send_trains(s);
	ngtcp2_conn_update_pkt_tx_time(s->conn, now);
	return n < 0 ? (int)n : 0;
}

/* Tell the peer, print what was moved, and forget the connection. */
static void end_connection(struct side *s, int err)
{
	ngtcp2_connection_close_error why;
	ngtcp2_pkt_info info;
	ngtcp2_ssize n = 0;
	struct ug_send_stats out;
	struct ug_receive_stats in;

	ngtcp2_connection_close_error_default(&why);
	if (err)
		ngtcp2_connection_close_error_set_transport_error_liberr(
			&why, err, NULL, 0);
	if (err != NGTCP2_ERR_DRAINING && err != NGTCP2_ERR_IDLE_CLOSE)
		n = ngtcp2_conn_write_connection_close(s->conn, NULL, &info,
						       s->data, sizeof(s->data),
						       &why, now_ns());
	if (n > 0)
		add_packet(s, (size_t)n, (uint8_t)info.ecn);
	send_trains(s);
	ug_get_send_stats(s->batch, &out, sizeof(out));
	ug_get_receive_stats(s->rcv, &in, sizeof(in));
	printf("%s: bytes sent %" PRIu64 ", received %" PRIu64 "; with an ECN "
	       "mark %" PRIu64 "; largest packet %zu; datagrams sent %" PRIu64
	       " in %" PRIu64 ", received %" PRIu64 " in %" PRIu64 "\n",
	       err ? ngtcp2_strerror(err) : "done", s->sent, s->received,
	       s->n_marked,
	       ngtcp2_conn_get_path_max_tx_udp_payload_size(s->conn),
	       out.datagrams, out.messages, in.datagrams, in.messages);
	fflush(stdout);
	ngtcp2_conn_del(s->conn);
	gnutls_deinit(s->tls);
	s->conn = NULL;
}

/* Hand a message to ngtcp2, datagram by datagram. Return: 0; an error of ngtcp2. */
static int take_message(struct side *s, const struct ug_received *in)
{
	ngtcp2_pkt_info info = { .ecn = in->tos & 3 };
	size_t len = in->len < in->segment_len ? in->len : in->segment_len;
	const uint8_t *data = in->data;
	ngtcp2_pkt_hd hd;
	int err = 0;

	if (!s->conn && ngtcp2_accept(&hd, data, len) == 0) {
		/* The copy has the source, so answers leave from the asked address. */
		s->peer = *in->from;
		open_connection(s, &hd);
	}
	if (!s->conn || ug_endpoint_compare(&s->peer, in->from) != 0)
		return 0;
	for (size_t off = 0; err == 0 && off < in->len; off += len) {
		if (len > in->len - off)
			len = in->len - off;
		s->n_marked += info.ecn != 0;
		err = ngtcp2_conn_read_pkt(s->conn, &s->path, &info, data + off,
					   len, now_ns());
	}
	return err;
}

/* Wait until something comes or ngtcp2 has to act. Return: 0; an error of ngtcp2. */
static int receive(struct side *s)
{
	struct ug_received in[SLOTS] = { { 0 } };
	ngtcp2_tstamp end = UINT64_MAX, now = now_ns();
	uint64_t wait_ms;
	int n, err = 0;

	if (s->conn)
		end = ngtcp2_conn_get_expiry(s->conn);
	wait_ms = end > now ? (end - now) / NGTCP2_MILLISECONDS + 1 : 0;
	n = ug_receive_trains(s->rcv, s->sock, AF_UNSPEC, in, sizeof(in[0]),
			      SLOTS, wait_ms < 1000 ? (int)wait_ms : 1000);
	if (n < 0 && n != -EAGAIN && n != -ETIMEDOUT && n != -EINTR)
		must(n == -EBUSY, strerror(-n));
	for (int i = 0; err == 0 && i < n; i++)
		err = take_message(s, &in[i]);
	now = now_ns();
	if (err == 0 && s->conn && ngtcp2_conn_get_expiry(s->conn) <= now)
		err = ngtcp2_conn_handle_expiry(s->conn, now);
	return err;
}

int main(int argc, char **argv)
{
	struct ug_options opt = { .size = sizeof(opt) };
	static struct side s;
	int err;

	for (uint32_t i = 0; i < PERIOD; i++)
		pattern[i] = (uint8_t)(i * 2654435761U >> 24);
	memcpy(pattern + PERIOD, pattern, CHUNK);
	s.is_server = argc == 6 && strcmp(argv[1], "serve") == 0;
	must(s.is_server || (argc == 5 && strcmp(argv[1], "connect") == 0),
	     "usage: quic serve PORT CERT KEY BYTES\n"
	     "       quic connect ADDRESS:PORT CERT BYTES");
	must(!gnutls_certificate_allocate_credentials(&s.cred), "no memory");
	if (s.is_server)
		err = gnutls_certificate_set_x509_key_file(
			s.cred, argv[3], argv[4], GNUTLS_X509_FMT_PEM);
	else
		err = gnutls_certificate_set_x509_trust_file(
			s.cred, argv[3], GNUTLS_X509_FMT_PEM);
	must(s.is_server ? err == 0 : err > 0, "bad certificate");
	opt.port = s.is_server ? (uint16_t)atoi(argv[2]) : 0;
	must(opt.port || ug_endpoint_parse(&s.peer, argv[2]) == 0,
	     "bad port or address");
	opt.pmtu4 = opt.pmtu6 = UG_PMTU_PROBE; /* ngtcp2 looks for it */
	must(!ug_open(&s.sock, &opt, NULL) && !ug_receiver_new(&s.rcv, SLOTS) &&
		     !ug_batch_new(&s.batch, UG_MAX_SEGMENTS),
	     "the port cannot be opened");
	s.to_send = strtoull(argv[argc - 1], NULL, 10);
	if (!s.is_server)
		open_connection(&s, NULL);
	do {
		err = s.conn ? send_packets(&s) : 0;
		if (err == 0)
			err = receive(&s);
		if (s.conn && (err || (!s.is_server && s.fin_received)))
			end_connection(&s, err);
	} while (s.is_server || s.conn);
	return err != 0;
}
