/* SPDX-License-Identifier: MIT */
/*
 * Which events of the kernel report that the virtual machine has a new
 * generation ID.
 */
#include <string.h>

#include "base/bytes.h"
#include "engine/vmgenid.h"
#include "tests/lib/check.h"

#define EVENT(text)                             \
	{                                       \
		(text), sizeof(text) - 1, false \
	}
#define NEW(text)                              \
	{                                      \
		(text), sizeof(text) - 1, true \
	}

static void events(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		bool is_new;
	} cases[] = {
		EVENT(""),
		EVENT("\0"),
		EVENT("change@/x\0ACTION=change\0SEQNUM=1\0"),
		EVENT("change@/x\0OLD_NEW_VMGENID=1\0"),
		EVENT("change@/x\0NEW_VMGENI"),
		EVENT("change@/NEW_VMGENID=1\0DEVPATH=/NEW_VMGENID=1\0"),
		NEW("change@/x\0NEW_VMGENID=1\0"),
		NEW("change@/x\0NEW_VMGENID=2\0SEQNUM=1\0"),
		NEW("change@/x\0\0\0NEW_VMGENID="),
		NEW("NEW_VMGENID="),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		/*
		 * The text is on the heap without a byte to spare, so a
		 * sanitizer reports a read beyond its end.
		 */
		size_t len = cases[i].len;
		char *text = malloc(len ? len : 1);

		assert_non_null(text);
		memcpy(text, cases[i].text, len);
		if (vmgenid_parse(text, len) != cases[i].is_new)
			fail_msg("case %zu: %s", i, cases[i].text);
		/*
		 * The rest of the text from each byte on is parsed without a
		 * read beyond its end.
		 */
		for (size_t cut = 0; cut < len; cut++)
			vmgenid_parse(text + cut, len - cut);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
