/* SPDX-License-Identifier: MIT */
#include "device_fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "device/config.h"
#include "tests/lib/quiet_ops.h"
#include "uapi/reply.h"

/* A choice: some time after 0. */
#define FAKE_NOW (UINT64_C(1000) * NSEC_PER_SEC)

static void op_random(void *arg, void *buf, size_t len)
{
	struct device_fake *fake = arg;
	uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++) {
		/* Knuth's factor for a linear congruential generator. */
		fake->seed = fake->seed * UINT64_C(6364136223846793005) + 1;
		bytes[i] = (uint8_t)(fake->seed >> 56);
	}
}

static void op_wake(void *arg)
{
	struct device_fake *fake = arg;

	fake->n_wakes++;
}

static void op_send_initiation(void *arg, struct peer *peer)
{
	struct device_fake *fake = arg;

	(void)peer;
	if (fake->holds_initiations)
		fake->n_waiting++;
	else
		fake->n_initiations++;
}

static size_t op_count_initiations(void *arg)
{
	const struct device_fake *fake = arg;

	return fake->n_waiting;
}

static void op_send_keepalive(void *arg, struct peer *peer)
{
	struct device_fake *fake = arg;

	fake->n_keepalives++;
	fake->keepalive_to = peer;
}

static int op_set_sockets(void *arg, const struct device_sockets *want,
			  uint16_t *port)
{
	struct device_fake *fake = arg;

	fake->n_set_sockets++;
	fake->was_restored = want->is_restored;
	if (fake->set_sockets_err)
		return fake->set_sockets_err;
	if (want->has_port)
		*port = want->port ? want->port : 40000;
	return 0;
}

static const struct device_ops ops = {
	.random = op_random,
	.wake = op_wake,
	.forget_source = quiet_forget_source,
	.endpoint_learnt = quiet_wake,
	.send_initiation = op_send_initiation,
	.count_initiations = op_count_initiations,
	.send_keepalive = op_send_keepalive,
	.session_ready = quiet_session_ready,
	.set_sockets = op_set_sockets,
};

static int codec_parse(struct device_endpoint *ep, const char *text)
{
	if (!strchr(text, ':') || strlen(text) >= sizeof(ep->words))
		return -EINVAL;
	memcpy(ep->words, text, strlen(text));
	return 0;
}

static int codec_print(const struct device_endpoint *ep, char *buf, size_t cap)
{
	return snprintf(buf, cap, "%.*s", (int)sizeof(ep->words),
			(const char *)ep->words);
}

const struct uapi_codec device_fake_codec = { codec_parse, codec_print };

void device_fake_init(struct device_fake *fake)
{
	memset(fake, 0, sizeof(*fake));
	assert_int_equal(device_init(&fake->device, &ops, fake), 0);
}

void device_fake_deinit(struct device_fake *fake)
{
	device_deinit(&fake->device);
}

char *device_fake_print(struct device_fake *fake, size_t cap)
{
	struct uapi_reply reply;
	char *text = malloc(cap + 1);
	size_t room = cap;
	size_t len = 0;
	size_t n;

	assert_non_null(text);
	uapi_reply_init(&reply, &fake->device, &device_fake_codec);
	while ((n = uapi_reply_fill(&reply, text + len, cap))) {
		len += n;
		if (len + cap > room) {
			room = (len + cap) * 2;
			text = realloc(text, room + 1);
			assert_non_null(text);
		}
	}
	text[len] = 0;
	return text;
}

struct uapi_request device_fake_parse(const char *text)
{
	struct uapi_parser *parser = uapi_parser_new(&device_fake_codec);
	struct uapi_request request;
	size_t n_used;

	assert_non_null(parser);
	assert_int_equal(
		uapi_parser_push(parser, text, strlen(text), &n_used, &request),
		UAPI_E_REQUEST);
	assert_int_equal(n_used, strlen(text));
	uapi_parser_free(parser);
	return request;
}

int device_fake_set(struct device_fake *fake, const char *text)
{
	struct uapi_request request = device_fake_parse(text);
	int err = request.error;

	if (!err)
		err = config_apply(request.config, &fake->device, FAKE_NOW);
	config_free(request.config);
	return err;
}
