/* SPDX-License-Identifier: MIT */
/* Control data of any bytes, as from a kernel that lies about its lengths. */
#include "any.h"

#include "base/bytes.h"
#include "udpgather/control.h"

/* The calls out of the file: any endpoint is accepted or not. */
uint32_t htonl(uint32_t n)
{
	return htobe32(n);
}

int ug_endpoint_set(struct ug_endpoint *ep, const struct sockaddr *sa,
		    socklen_t len)
{
	//@ check \valid_read((uint8_t *)sa + (0 .. len - 1));
	if (Frama_C_nondet(0, 1))
		return -22;
	Frama_C_make_unknown((char *)ep, sizeof(*ep));
	return 0;
}

static void prove(size_t len)
{
	uint8_t *bytes = any_bytes(len);
	struct control_info info;
	struct control_details details;
	struct ug_error error;

	(void)ug_control_parse(bytes, len, &info);
	ug_control_parse_details(bytes, len, &details);
	(void)ug_control_parse_error(bytes, len, &error);
	free(bytes);
}

int main(void)
{
	for (size_t len = 0; len <= 48; len++)
		prove(len);
	must_be_reached();
	return 0;
}
