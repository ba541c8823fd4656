/* SPDX-License-Identifier: MIT */
/*
 * The word in the state's head that decides which of two engines goes on.
 *
 * Both processes map the memory. The predecessor has stopped, and its word is
 * OWNER_PREDECESSOR. The successor exchanges it for OWNER_SUCCESSOR when it is ready to
 * go on. The predecessor exchanges it for OWNER_KEPT when it has waited long enough, or
 * when it learns that the successor has ended. Only one of them can win, whatever
 * happens to the messages between them. So two engines never send with the same keys
 * and counters.
 *
 * An enemy who has taken one of the two processes over can write any word. Then the
 * other process may stop, or both may go on.
 */
#ifndef HANDOVER_OWNER_H
#define HANDOVER_OWNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "handover/state_layout.h"

enum owner {
	/* The predecessor has written the state, and has stopped. Nothing is decided
	 * yet. */
	OWNER_PREDECESSOR = 1,
	/* The successor goes on, and the predecessor ends. */
	OWNER_SUCCESSOR,
	/* The predecessor goes on, and the successor ends. */
	OWNER_KEPT,
};

/**
 * owner_take() - decide who goes on
 * @head:	head of a state, in the memory that both processes have mapped
 * @to:		OWNER_SUCCESSOR, called by the successor; OWNER_KEPT, called by the
 *		predecessor
 *
 * Any thread.
 *
 * Return: true: it is decided so, for ever; false: it was decided before.
 */
static inline bool owner_take(struct state_head *head, enum owner to)
{
	uint32_t was = OWNER_PREDECESSOR;

	/* Partner: the same call in the other process. */
	return atomic_compare_exchange_strong_explicit(
		&head->owner, &was, (uint32_t)to, memory_order_seq_cst,
		memory_order_seq_cst);
}

/* owner_get() - what was decided; OWNER_PREDECESSOR: nothing yet. Any thread. */
static inline enum owner owner_get(const struct state_head *head)
{
	/* Partner: owner_take() in the other process. */
	return (enum owner)atomic_load_explicit(&head->owner,
						memory_order_seq_cst);
}

#endif /* HANDOVER_OWNER_H */
