/* SPDX-License-Identifier: MIT */
/*
 * Events of the kernel. Input: an event.
 *
 * Promise: the verdict equals that of a plain search, which looks for the field
 * at every place at which a field begins.
 */
#include "fuzz/fuzz.h"

#include <stdbool.h>

#include "engine/vmgenid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char name[] = "NEW_VMGENID=";
	const size_t name_len = sizeof(name) - 1;
	bool is_new = false;

	for (size_t i = 0; i + name_len <= len; i++)
		is_new |= (i == 0 || !data[i - 1]) &&
			  !memcmp(data + i, name, name_len);
	require(vmgenid_parse((const char *)data, len) == is_new);
	return 0;
}
