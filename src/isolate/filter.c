/* SPDX-License-Identifier: MIT */
/*
 * Installs the filter that make_filter.c has made for a thread. The build puts
 * the programs into filter_program.h.
 */
#include "isolate/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "isolate/socketcall.h"

#ifdef ISOLATE_HAS_FILTER

enum {
	/* Most instructions of a program. A choice: the longest program has
	 * half as many. */
	PROGRAM_MAX = 512,
};

/**
 * struct program - a filter
 * @thread:	name of its list
 * @code:	instructions
 * @len:	their count
 */
struct program {
	const char *thread;
	const struct sock_filter *code;
	size_t len;
};

/* The filters, and the table @programs of them. */
#include "isolate/filter_program.h"

static const struct program *find_program(const char *thread)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (!strcmp(programs[i].thread, thread))
			return &programs[i];
	return NULL;
}

/* Replace the placeholders by the ids, which are not known at build time. */
static void fill_ids(struct sock_filter *code, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (code[i].code != (BPF_JMP | BPF_JEQ | BPF_K))
			continue;
		if (code[i].k == FILTER_PID)
			code[i].k = (uint32_t)getpid();
		else if (code[i].k == FILTER_TID)
			code[i].k = (uint32_t)gettid();
	}
}

int filter_install(const char *thread)
{
	const struct program *program = find_program(thread);
	struct sock_filter code[PROGRAM_MAX];
	struct sock_fprog prog = { .filter = code };

	if (!program)
		return -ENOENT;
	if (!socketcall_is_avoided())
		return -EOPNOTSUPP;
	if (program->len > PROGRAM_MAX)
		return -E2BIG;
	prog.len = (unsigned short)program->len;
	memcpy(code, program->code, program->len * sizeof(*code));
	fill_ids(code, program->len);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0
		       ? -errno
		       : 0;
}

#else

int filter_install(const char *thread)
{
	(void)thread;
	return -ENOTSUP;
}

#endif /* ISOLATE_HAS_FILTER */
