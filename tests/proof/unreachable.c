/* SPDX-License-Identifier: MIT */
/* ICMP errors that quote any packet of these lengths. */
#include "any.h"

#include "engine/unreachable.h"

/* What is summed must be there; what comes out is any number. */
/*@ requires valid: len == 0 || \valid_read((uint8_t *)data + (0 .. len - 1));
    requires init: len == 0 || \initialized((uint8_t *)data + (0 .. len - 1));
    assigns \result \from sum, ((uint8_t *)data)[0 .. len - 1]; */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

static void prove(size_t len, uint8_t min, uint8_t max)
{
	uint8_t *packet = any_bytes(len);
	uint8_t out[UNREACHABLE_MAX_LEN];
	size_t n;

	if (len)
		packet[0] = Frama_C_unsigned_char_interval(min, max);
	n = unreachable_make(out, packet, len,
			     Frama_C_unsigned_int_interval(0, 65535));
	//@ check bound: n <= UNREACHABLE_MAX_LEN;
	if (n) {
		//@ check filled: \initialized(out + (0 .. n - 1));
	}
	free(packet);
}

/* IPv4, IPv6 and the versions around them, one by one: Eva does not remember that
 * the first byte has been looked at. */
static void prove_versions(size_t len)
{
	prove(len, 0x00, 0x3f);
	prove(len, 0x40, 0x4f);
	prove(len, 0x50, 0x5f);
	prove(len, 0x60, 0x6f);
	prove(len, 0x70, 0xff);
}

int main(void)
{
	for (size_t len = 0; len <= 64; len++)
		prove_versions(len);
	for (size_t len = 544; len <= 552; len++)
		prove_versions(len);
	for (size_t len = 1228; len <= 1236; len++)
		prove_versions(len);
	prove_versions(9000);
	must_be_reached();
	return 0;
}
