/* SPDX-License-Identifier: MIT */
/* The metrics of interfaces, as one text. */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

#include "ctl/commands.h"

/**
 * ctl_metrics_text() - ask the interfaces for their metrics
 * @options:	@interfaces, or with @has_all those that there are now; one that does not
 *		answer is complained of on stderr, and left out
 * @is_open:	as OpenMetrics 1.0; false: in Prometheus' text format 0.0.4
 * @len:	set to the length of the text
 *
 * Return: the text, which free(3) frees; NULL: there is no memory.
 */
char *ctl_metrics_text(const struct ctl_options *options, bool is_open,
		       size_t *len);

#endif /* CTL_METRICS_H */
