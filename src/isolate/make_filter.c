/* SPDX-License-Identifier: MIT */
/*
 * Makes filters of system calls from the table in calls.c, while the project is
 * built, on the machine that builds it.
 *
 * usage: make-filter OBJECT ARCHITECTURE
 *		print a C header: the filter of each thread. OBJECT is the
 *		object file of calls.c; ARCHITECTURE is a name that libseccomp
 *		knows
 *        make-filter OBJECT --list
 *		print the table, a line for each way and thread: NAMES with "|"
 *		between, WORD, THREAD, "seen" or "rare"
 *
 * On i386 and s390x the calls of sockets have numbers of their own, and an
 * older way, socketcall(2), whose arguments are in memory, where no filter sees
 * them. For a rule about such a call libseccomp adds a rule for the older way,
 * and silently leaves out the conditions on arguments. So the older way is
 * forbidden here.
 *
 * A call that is not in the table ends the process. For the starter it fails with
 * ENOSYS (filter.h).
 *
 * Each filter is tried after it was made, also if it is for an architecture
 * that no test runs on. The filter must let each way of the table pass. It must
 * let no call pass that is not in the table, or whose arguments the table
 * forbids.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/elf-em.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isolate/calls.h"

static const struct {
	enum thread bit;
	const char *name;
} threads[] = {
	{ CONTROL, FILTER_CONTROL },
	{ WORKER, "worker" },
	{ HELPER, "helper" },
	{ HANDSHAKER, "handshaker" },
	{ RCU, "rcu" },
	{ LOG, "log" },
	{ KEEPER, FILTER_KEEPER },
	{ STARTER, FILTER_STARTER },
};

#define N_THREADS (sizeof(threads) / sizeof(threads[0]))

enum {
	/* Instructions of a program: the kernel takes no more
	 * (BPF_MAXINSNS). */
	CODE_MAX = 4096,
	/* Numbers of calls that are tried: MIPS has some up to 6500. */
	NUMBERS_MAX = 8192,
	/* Names of calls in an entry, and bytes of the object file. Choices:
	 * more than there are. */
	NUMBERS_OF_CALL_MAX = 8,
	OBJECT_MAX = 1 << 20,
};

/**
 * struct program - a filter
 * @code:	instructions, in the byte order of this machine
 * @len:	their count
 */
struct program {
	struct sock_filter code[CODE_MAX];
	size_t len;
};

static const struct call *calls;
static char object[OBJECT_MAX];
/* The number of ENOSYS on the machine that will run the program. */
static uint32_t enosys;

/* ------------------------------------------------------------- the table */

static bool is_for(const struct call *call, enum thread thread)
{
	return (call->seen | call->rare) &
	       (thread == STARTER ? STARTER | ALL : thread);
}

/* What a filter does with a call that is not in the table. */
static uint32_t get_denial(enum thread thread)
{
	return thread == STARTER ? SCMP_ACT_ERRNO(enosys)
				 : SCMP_ACT_KILL_PROCESS;
}

static bool has_name(const struct call *call, const char *name)
{
	const char *p = call->names;
	size_t len = strlen(name);

	for (;;) {
		size_t n = strcspn(p, " ");

		if (n == len && !memcmp(p, name, n))
			return true;
		if (!p[n])
			return false;
		p += n + 1;
	}
}

static uint32_t from_bytes(const uint8_t bytes[4])
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
	       (uint32_t)bytes[2] << 8 | bytes[3];
}

static unsigned int count_conditions(const struct call *call)
{
	unsigned int n = 0;

	while (n < CALLS_CONDITIONS_MAX && from_bytes(call->conditions[n].mask))
		n++;
	return n;
}

/*
 * The numbers of a call, as libseccomp has them for this machine: negative
 * for a call that this machine lacks. Returns how many, or -EINVAL if
 * libseccomp does not know a name.
 */
static int resolve(const struct call *call,
		   int numbers[static NUMBERS_OF_CALL_MAX])
{
	char names[CALLS_NAMES_CAP];
	int n = 0;

	memcpy(names, call->names, sizeof(names));
	for (char *save, *name = strtok_r(names, " ", &save); name;
	     name = strtok_r(NULL, " ", &save)) {
		if (n == NUMBERS_OF_CALL_MAX)
			return -EINVAL;
		numbers[n] = seccomp_syscall_resolve_name(name);
		if (numbers[n] == __NR_SCMP_ERROR)
			return -EINVAL;
		n++;
	}
	return n;
}

static int read_table(const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t len;

	if (!file)
		return -errno;
	len = fread(object, 1, sizeof(object) - sizeof(struct call), file);
	fclose(file);
	for (size_t i = 0; i + sizeof(struct call) <= len; i++) {
		if (memcmp(&object[i], CALLS_MAGIC, sizeof(CALLS_MAGIC)) != 0)
			continue;
		calls = (const struct call *)&object[i];
		enosys = from_bytes(calls++->conditions[0].value);
		return 0;
	}
	return -ENOEXEC;
}

/* ------------------------------------------------------------ the filter */

/* Add the rules for an entry. The numbers of calls are those of this machine;
 * libseccomp translates them. */
static int allow(scmp_filter_ctx ctx, const struct call *call)
{
	struct scmp_arg_cmp args[CALLS_CONDITIONS_MAX] = { 0 };
	unsigned int n = count_conditions(call);
	int numbers[NUMBERS_OF_CALL_MAX];
	int n_numbers = resolve(call, numbers), err = 0;

	if (n_numbers < 0)
		return n_numbers;
	if (has_name(call, "socketcall") || has_name(call, "ipc"))
		return -EPERM;
	for (unsigned int i = 0; i < n; i++) {
		args[i].arg = call->conditions[i].arg;
		args[i].op = SCMP_CMP_MASKED_EQ;
		args[i].datum_a = from_bytes(call->conditions[i].mask);
		args[i].datum_b = from_bytes(call->conditions[i].value);
	}
	/* A call that the architecture does not have is left out. */
	for (int i = 0; err == 0 && i < n_numbers; i++)
		err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, numbers[i], n,
					     args);
	return err;
}

/* This is called before rules are added: libseccomp cannot mix byte orders in a
 * filter. */
static int choose_architecture(scmp_filter_ctx ctx, uint32_t architecture)
{
	int err;

	if (architecture == seccomp_arch_native())
		return 0;
	err = seccomp_arch_remove(ctx, seccomp_arch_native());
	return err < 0 ? err : seccomp_arch_add(ctx, architecture);
}

/*
 * Keep libseccomp from allowing socketcall(2), whose arguments are in memory. A
 * rule cannot have the default action, so this rule has another one, which
 * export_program() replaces.
 */
static int forbid_others(scmp_filter_ctx ctx, uint32_t architecture)
{
	int number =
		seccomp_syscall_resolve_name_arch(architecture, "socketcall");

	if (number < 0)
		return 0;
	return seccomp_rule_add(ctx, SCMP_ACT_TRAP,
				seccomp_syscall_resolve_name("socketcall"), 0);
}

static int add_rules(scmp_filter_ctx ctx, uint32_t architecture,
		     enum thread thread)
{
	int err = choose_architecture(ctx, architecture);

	if (err == 0)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
				       SCMP_ACT_KILL_PROCESS);
	/* The value 2 asks for a binary tree, so that the filter does not
	 * compare a call with all others. */
	if (err == 0)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (err == 0)
		err = forbid_others(ctx, architecture);
	for (const struct call *call = calls; err == 0 && *call->names;
	     call++) {
		if (!is_for(call, thread))
			continue;
		err = allow(ctx, call);
		if (err < 0)
			fprintf(stderr, "make-filter: %s: %s\n", call->names,
				strerror(-err));
	}
	return err;
}

static bool is_swapped(uint32_t architecture)
{
	bool is_little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

	return is_little != !!(architecture & __AUDIT_ARCH_LE);
}

/*
 * The action that an instruction of libseccomp means. If a filter is so long that a jump
 * cannot reach its end, libseccomp 2.5 puts copies of the actions between, and writes these
 * in the other byte order. It does so only in filters for machines of another byte order.
 */
static uint32_t mend_action(uint32_t action, uint32_t denial)
{
	const uint32_t all[] = { SCMP_ACT_ALLOW, SCMP_ACT_KILL_PROCESS,
				 SCMP_ACT_TRAP, denial };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (action == __builtin_bswap32(all[i]))
			action = all[i];
	return action == SCMP_ACT_TRAP ? denial : action;
}

/* libseccomp writes in the byte order of the machine that runs the filter. */
static int export_program(scmp_filter_ctx ctx, uint32_t architecture,
			  uint32_t denial, struct program *program)
{
	bool swap = is_swapped(architecture);
	FILE *file = tmpfile();
	int err;

	if (!file)
		return -errno;
	err = seccomp_export_bpf(ctx, fileno(file));
	rewind(file);
	program->len =
		fread(program->code, sizeof(program->code[0]), CODE_MAX, file);
	fclose(file);
	if (err == 0 && program->len == CODE_MAX)
		err = -E2BIG;
	for (size_t i = 0; i < program->len; i++) {
		struct sock_filter *in = &program->code[i];

		if (swap) {
			in->code = __builtin_bswap16(in->code);
			in->k = __builtin_bswap32(in->k);
		}
		if (in->code == (BPF_RET | BPF_K))
			in->k = mend_action(in->k, denial);
	}
	return err;
}

/* ---------------------------------------------------- the filter is tried */

/**
 * struct attempt - a call, as a filter sees it
 * @number:	of the call
 * @architecture: token
 * @args:	lower halves of the arguments; the upper ones are 0
 * @has_any_args: the arguments may be anything, and @args is not used
 * @denial:	what the filter does with a call that is not in the table
 */
struct attempt {
	uint32_t number;
	uint32_t architecture;
	uint32_t args[6];
	bool has_any_args;
	uint32_t denial;
};

static uint32_t load(const struct attempt *attempt, uint32_t offset)
{
	size_t first = offsetof(struct seccomp_data, args);
	bool is_big = !(attempt->architecture & __AUDIT_ARCH_LE);

	if (offset == offsetof(struct seccomp_data, nr))
		return attempt->number;
	if (offset == offsetof(struct seccomp_data, arch))
		return attempt->architecture;
	if (offset < first || (offset - first) / 8 >= 6)
		return 0;
	return ((offset - first) % 8 == 4) == is_big
		       ? attempt->args[(offset - first) / 8]
		       : 0;
}

/*
 * Run a filter from instruction @i on, with @a in its register. Returns the
 * action, or SCMP_ACT_LOG for an unknown instruction. If the arguments may be
 * anything, returns an action that is no denial if some arguments lead to one.
 */
static uint32_t run_from(const struct program *program, size_t i, uint32_t a,
			 const struct attempt *attempt)
{
	bool is_any = false;

	for (; i < program->len; i++) {
		const struct sock_filter *in = &program->code[i];
		bool is_true = false;

		switch (in->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			is_any = attempt->has_any_args &&
				 in->k >= offsetof(struct seccomp_data, args);
			a = load(attempt, in->k);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= in->k;
			continue;
		case BPF_RET | BPF_K:
			return in->k;
		case BPF_JMP | BPF_JA:
			i += in->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			is_true = a == in->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			is_true = a > in->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			is_true = a >= in->k;
			break;
		default:
			return SCMP_ACT_LOG;
		}
		if (is_any) {
			uint32_t action =
				run_from(program, i + 1 + in->jt, a, attempt);

			if (action != attempt->denial)
				return action;
			is_true = false;
		}
		i += is_true ? in->jt : in->jf;
	}
	return SCMP_ACT_LOG;
}

/*
 * The name of a call, to be freed; NULL: the architecture has none of this
 * number. libseccomp has a name also for the number of a call of MIPS without
 * the offset that MIPS adds to all numbers.
 */
static char *name_of(uint32_t architecture, uint32_t number)
{
	uint32_t first = architecture & __AUDIT_ARCH_64BIT ? 5000 : 4000;

	if ((architecture & UINT16_MAX) == EM_MIPS && number < first)
		return NULL;
	return seccomp_syscall_resolve_num_arch(architecture, (int)number);
}

/* The rule that the table has for a call. */
enum rule {
	FORBIDDEN,
	CONDITIONAL,
	UNCONDITIONAL,
};

static enum rule look_up(uint32_t architecture, uint32_t number,
			 enum thread thread)
{
	char *name = name_of(architecture, number);
	enum rule found = FORBIDDEN;

	if (!name)
		return FORBIDDEN;
	for (const struct call *call = calls; *call->names; call++) {
		enum rule rule =
			count_conditions(call) ? CONDITIONAL : UNCONDITIONAL;

		if (rule > found && is_for(call, thread) &&
		    has_name(call, name))
			found = rule;
	}
	free(name);
	return found;
}

/*
 * Check that the filter denies every call that is not in the table, and calls with
 * other arguments. A call that is not in the table
 * must not pass with any arguments. A call with conditions is tried with all
 * bits of each argument set, which no condition allows.
 */
static int try_forbidden(const struct program *program, uint32_t architecture,
			 enum thread thread)
{
	for (uint32_t number = 0; number < NUMBERS_MAX; number++) {
		enum rule rule = look_up(architecture, number, thread);
		struct attempt attempt = {
			.number = number,
			.architecture = architecture,
			.has_any_args = rule == FORBIDDEN,
			.denial = get_denial(thread),
		};

		memset(attempt.args, 0xff, sizeof(attempt.args));
		if (rule == UNCONDITIONAL ||
		    run_from(program, 0, 0, &attempt) == attempt.denial)
			continue;
		fprintf(stderr,
			"make-filter: the filter would allow call %u, "
			"whatever its arguments are\n",
			number);
		return -EPERM;
	}
	return 0;
}

/* Does a call pass with the arguments that an entry of the table wants? */
static bool passes(const struct program *program, uint32_t architecture,
		   uint32_t number, const struct call *call)
{
	struct attempt attempt = {
		.number = number,
		.architecture = architecture,
	};

	for (unsigned int i = 0; i < count_conditions(call); i++)
		attempt.args[call->conditions[i].arg] =
			from_bytes(call->conditions[i].value);
	return run_from(program, 0, 0, &attempt) == SCMP_ACT_ALLOW;
}

/*
 * Check that the filter allows each way of the table. The tests show this only
 * for the architectures that they run on. On another architecture the byte
 * order may differ, which decides where a filter finds the lower half of an
 * argument.
 */
static int try_allowed(const struct program *program, uint32_t architecture,
		       enum thread thread)
{
	for (uint32_t number = 0; number < NUMBERS_MAX; number++) {
		char *name = name_of(architecture, number);
		const struct call *call = calls;

		while (name && *call->names &&
		       (!is_for(call, thread) || !has_name(call, name) ||
			passes(program, architecture, number, call)))
			call++;
		if (name && *call->names) {
			fprintf(stderr,
				"make-filter: the filter would forbid %s, %s\n",
				name, call->word);
			free(name);
			return -EPERM;
		}
		free(name);
	}
	return 0;
}

/* -------------------------------------------------------------- printing */

static void print_program(const struct program *program, const char *name)
{
	printf("static const struct sock_filter of_%s[] = {\n", name);
	for (size_t i = 0; i < program->len; i++)
		printf("\t{ 0x%x, %u, %u, 0x%x },\n", program->code[i].code,
		       program->code[i].jt, program->code[i].jf,
		       program->code[i].k);
	puts("};");
}

static int print_filter(uint32_t architecture, size_t thread)
{
	static struct program program;
	uint32_t denial = get_denial(threads[thread].bit);
	scmp_filter_ctx ctx = seccomp_init(denial);
	int err;

	if (!ctx)
		return -ENOMEM;
	err = add_rules(ctx, architecture, threads[thread].bit);
	if (err == 0)
		err = export_program(ctx, architecture, denial, &program);
	if (err == 0)
		err = try_forbidden(&program, architecture,
				    threads[thread].bit);
	if (!err)
		err = try_allowed(&program, architecture, threads[thread].bit);
	if (err == 0)
		print_program(&program, threads[thread].name);
	seccomp_release(ctx);
	return err;
}

static int print_filters(const char *name)
{
	uint32_t architecture = seccomp_arch_resolve_name(name);
	int err = architecture ? 0 : -EINVAL;

	puts("/* Made by make_filter.c. */");
	for (size_t i = 0; err == 0 && i < N_THREADS; i++)
		err = print_filter(architecture, i);
	puts("\nstatic const struct program programs[] = {");
	for (size_t i = 0; i < N_THREADS; i++)
		printf("\t{ \"%s\", of_%s, ARRAY_LEN(of_%s) },\n",
		       threads[i].name, threads[i].name, threads[i].name);
	puts("};");
	return err;
}

static void print_entry(const struct call *call, size_t thread)
{
	char names[CALLS_NAMES_CAP];

	memcpy(names, call->names, sizeof(names));
	for (char *p = names; *p; p++)
		if (*p == ' ')
			*p = '|';
	printf("%s %s %s %s\n", names, call->word, threads[thread].name,
	       call->seen & threads[thread].bit ? "seen" : "rare");
}

static void print_list(void)
{
	for (const struct call *call = calls; *call->names; call++)
		for (size_t t = 0; t < N_THREADS; t++)
			if (is_for(call, threads[t].bit))
				print_entry(call, t);
}

int main(int argc, char **argv)
{
	int err;

	if (argc != 3) {
		fputs("usage: make-filter OBJECT ARCHITECTURE | --list\n",
		      stderr);
		return EXIT_FAILURE;
	}
	err = read_table(argv[1]);
	if (err == 0 && !strcmp(argv[2], "--list"))
		print_list();
	else if (err == 0)
		err = print_filters(argv[2]);
	if (err < 0)
		fprintf(stderr, "make-filter: %s: %s\n", argv[2],
			strerror(-err));
	return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
