/* SPDX-License-Identifier: MIT */
/* What the checks of the command `why` have found, in the order of the checks. */
#ifndef CTL_FINDING_H
#define CTL_FINDING_H

#include <stddef.h>

enum {
	/* Bytes of a text, with the final 0. A choice: a longer one is cut. */
	CTL_FINDING_CAP = 512,
};

enum ctl_result {
	CTL_FINE,    /* as it should be */
	CTL_NOTE,    /* worth knowing, and no fault */
	CTL_SKIPPED, /* not checked; the text says why */
	CTL_FAULT,   /* a cause */
};

/**
 * struct ctl_finding - what a check has found
 * @result:	how it is
 * @check:	name of the check, a constant
 * @text:	what was found: a line without full stop
 * @advice:	what to do: a line; empty: nothing
 */
struct ctl_finding {
	enum ctl_result result;
	const char *check;
	char text[CTL_FINDING_CAP];
	char advice[CTL_FINDING_CAP];
};

/**
 * struct ctl_findings - all of them; all zero at first
 * @all:	@n findings
 * @n:		how many
 */
struct ctl_findings {
	struct ctl_finding *all;
	size_t n;
};

/**
 * ctl_find() - add a finding
 * @findings:	gets it; without memory it is left out
 * @result:	how it is
 * @check:	name of the check, a constant
 * @format:	text
 *
 * Return: the finding, for ctl_advise(), borrowed until the next ctl_find(); NULL:
 * there was no memory.
 */
struct ctl_finding *ctl_find(struct ctl_findings *findings,
			     enum ctl_result result, const char *check,
			     const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* ctl_advise() - say what to do about a finding; NULL is ok */
void ctl_advise(struct ctl_finding *finding, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ctl_findings_cause() - the first fault; NULL: there is none */
const struct ctl_finding *
ctl_findings_cause(const struct ctl_findings *findings);

/* ctl_findings_free() - free them all */
void ctl_findings_free(struct ctl_findings *findings);

/* ctl_result_word() - "ok", "note", "skipped" or "fault" */
const char *ctl_result_word(enum ctl_result result);

#endif /* CTL_FINDING_H */
