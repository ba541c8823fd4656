/* SPDX-License-Identifier: MIT */
/* Messages of every length. Those longer than a handshake's are one case: of each
 * only the first bytes are there, so that no other byte may be read. */
#include "any.h"

#include "noise/wire.h"

enum {
	N = 160,
};

static void prove(size_t len, size_t there)
{
	uint8_t *msg = any_bytes(there);

	switch (message_check(msg, len)) {
	case MESSAGE_INITIATION:
		//@ check \valid_read(msg + (0 .. sizeof(struct message_initiation) - 1));
		break;
	case MESSAGE_RESPONSE:
		//@ check \valid_read(msg + (0 .. sizeof(struct message_response) - 1));
		break;
	case MESSAGE_COOKIE:
		//@ check \valid_read(msg + (0 .. sizeof(struct message_cookie) - 1));
		break;
	case MESSAGE_DATA:
		//@ check \valid_read(msg + (0 .. MESSAGE_DATA_OVERHEAD - 1));
		break;
	case MESSAGE_INVALID:
		break;
	}
	free(msg);
}

int main(void)
{
	for (size_t len = 0; len <= N; len++)
		prove(len, len);
	prove(Frama_C_size_t_interval(N + 1, SIZE_MAX), N + 1);
	must_be_reached();
	return 0;
}
