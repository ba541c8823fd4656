/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl why: why does an address not answer? The checks go the way of a packet:
 * this end, the way to the peer, the peer. The first fault is named as the cause,
 * because the later ones may follow from it.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "ctl/checks.h"
#include "ctl/commands.h"

static const struct option long_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "passive", no_argument, NULL, 'p' },
	{ NULL, 0, NULL, 0 },
};

/* What the command line asks for. */
struct wish {
	bool json;
	bool is_passive;
	const char *token; /* a peer or an address; NULL: none */
};

/* ------------------------------------------------------------------ the answer */

static void print_header(const struct ctl_diagnosis *d)
{
	char text[CTL_ADDRESS_CAP];

	printf("%s", d->interface);
	if (*d->key)
		printf(", peer %s", d->title);
	if (d->target.any.sa_family != AF_UNSPEC)
		printf(", address %s", ctl_address_print(text, &d->target));
	puts(":");
}

static void print_plain(const struct ctl_diagnosis *d)
{
	const struct ctl_finding *cause = ctl_findings_cause(&d->findings);

	print_header(d);
	for (size_t i = 0; i < d->findings.n; i++) {
		const struct ctl_finding *f = &d->findings.all[i];

		printf("  %-8s%-14s%s\n", ctl_result_word(f->result), f->check,
		       f->text);
		if (*f->advice)
			printf("  %-8s%-14s-> %s\n", "", "", f->advice);
	}
	printf("cause: %s\n", cause ? cause->text : "none was found");
}

static struct json_object *make_finding(const struct ctl_finding *f)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "check",
			       json_object_new_string(f->check));
	json_object_object_add(
		object, "result",
		json_object_new_string(ctl_result_word(f->result)));
	json_object_object_add(object, "text", json_object_new_string(f->text));
	if (*f->advice)
		json_object_object_add(object, "advice",
				       json_object_new_string(f->advice));
	return object;
}

static void print_json(const struct ctl_diagnosis *d)
{
	const struct ctl_finding *cause = ctl_findings_cause(&d->findings);
	struct json_object *object = json_object_new_object();
	struct json_object *checks = json_object_new_array();
	char text[CTL_ADDRESS_CAP];

	json_object_object_add(object, "interface",
			       json_object_new_string(d->interface));
	if (*d->key)
		json_object_object_add(object, "public_key",
				       json_object_new_string(d->key));
	if (d->target.any.sa_family != AF_UNSPEC)
		json_object_object_add(object, "address",
				       json_object_new_string(ctl_address_print(
					       text, &d->target)));
	if (cause)
		json_object_object_add(object, "cause",
				       json_object_new_string(cause->text));
	for (size_t i = 0; i < d->findings.n; i++)
		json_object_array_add(checks,
				      make_finding(&d->findings.all[i]));
	json_object_object_add(object, "checks", checks);
	puts(json_object_to_json_string_ext(
		object,
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

/* ------------------------------------------------------------------ the command */

static int answer(const struct ctl_diagnosis *d, bool is_json)
{
	if (is_json)
		print_json(d);
	else
		print_plain(d);
	if (fflush(stdout) != 0)
		return ctl_complain("stdout", -errno);
	return ctl_findings_cause(&d->findings) ? CTL_FAULTY : CTL_OK;
}

/* Does this error of asking the daemon tell that there is no daemon? */
static bool is_absence(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -ETIMEDOUT;
}

static int diagnose(struct ctl_diagnosis *d, const struct wish *wish)
{
	const char *complaint;
	int err = ctl_diagnosis_begin(d);

	if (err == 0 && wish->token) {
		complaint = ctl_diagnosis_aim(d, wish->token);
		if (complaint)
			return ctl_refuse(complaint, wish->token);
	}
	if (err == 0)
		err = ctl_diagnosis_try(d);
	if (err < 0 && !is_absence(err))
		return ctl_complain(d->interface, err);
	if (err < 0) {
		ctl_check_absence(d, err);
		return answer(d, wish->json);
	}
	ctl_check_own(d);
	if (wish->token) {
		ctl_check_way(d);
		ctl_check_peer(d);
	}
	ctl_check_log(d);
	return answer(d, wish->json);
}

int ctl_why(int argc, char **argv)
{
	struct ctl_diagnosis d = { 0 };
	struct wish wish = { 0 };
	int c, status;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (c != 'j' && c != 'p')
			return ctl_refuse("no such option", argv[optind - 1]);
		wish.json |= c == 'j';
		wish.is_passive |= c == 'p';
	}
	if (optind == argc)
		return ctl_refuse("missing", "interface");
	if (argc - optind > 2)
		return ctl_refuse("too many words", argv[optind + 2]);
	d.interface = argv[optind];
	d.may_send = !wish.is_passive;
	wish.token = argv[optind + 1];
	status = diagnose(&d, &wish);
	ctl_diagnosis_end(&d);
	return status;
}
