/* SPDX-License-Identifier: MIT */
#include "ctl/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct ctl_finding *ctl_find(struct ctl_findings *findings,
			     enum ctl_result result, const char *check,
			     const char *format, ...)
{
	struct ctl_finding *all =
		realloc(findings->all, (findings->n + 1) * sizeof(*all));
	struct ctl_finding *last;
	va_list args;

	if (!all)
		return NULL;
	findings->all = all;
	last = &all[findings->n++];
	*last = (struct ctl_finding){ .result = result, .check = check };
	va_start(args, format);
	vsnprintf(last->text, sizeof(last->text), format, args);
	va_end(args);
	return last;
}

void ctl_advise(struct ctl_finding *finding, const char *format, ...)
{
	va_list args;

	if (!finding)
		return;
	va_start(args, format);
	vsnprintf(finding->advice, sizeof(finding->advice), format, args);
	va_end(args);
}

const struct ctl_finding *
ctl_findings_cause(const struct ctl_findings *findings)
{
	for (size_t i = 0; i < findings->n; i++)
		if (findings->all[i].result == CTL_FAULT)
			return &findings->all[i];
	return NULL;
}

void ctl_findings_free(struct ctl_findings *findings)
{
	free(findings->all);
	*findings = (struct ctl_findings){ 0 };
}

const char *ctl_result_word(enum ctl_result result)
{
	static const char *const words[] = {
		[CTL_FINE] = "ok",
		[CTL_NOTE] = "note",
		[CTL_SKIPPED] = "skipped",
		[CTL_FAULT] = "fault",
	};

	return words[result];
}
