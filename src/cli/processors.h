/* SPDX-License-Identifier: MIT */
/*
 * The processors that this process may run on, and what is made of their number if
 * no option says otherwise.
 */
#ifndef CLI_PROCESSORS_H
#define CLI_PROCESSORS_H

/* processors_count() - how many processors this process may run on, at least 1. Any
 * thread. */
unsigned int processors_count(void);

/* processors_get_workers() - how many threads move packets on @n processors */
unsigned int processors_get_workers(unsigned int n);

/* processors_get_queues() - how many queues the interface has on @n processors */
unsigned int processors_get_queues(unsigned int n);

#endif /* CLI_PROCESSORS_H */
