/* SPDX-License-Identifier: MIT */
/*
 * Doubly linked lists whose links live in the elements. A list is a ring
 * through its head, so an element can be unlinked without naming the list.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct list {
	struct list *next;
	struct list *prev;
};

/**
 * list_init() - an empty list, or an element that is in none
 * @l:		head or element
 */
static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

/**
 * list_is_empty() - has a list no elements, or is an element in no list?
 * @head:	the list's head, or the element
 */
static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

/**
 * list_push() - append an element
 * @head:	the list
 * @item:	element that is in no list
 */
static inline void list_push(struct list *head, struct list *item)
{
	item->next = head;
	item->prev = head->prev;
	head->prev->next = item;
	head->prev = item;
}

/**
 * list_remove() - unlink an element
 * @item:	element, which is in no list afterwards; it may be in no list
 *		before
 */
static inline void list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/**
 * list_pop() - unlink the first element
 * @head:	the list
 *
 * Return: the element; NULL if the list is empty.
 */
static inline struct list *list_pop(struct list *head)
{
	struct list *item = head->next;

	if (item == head)
		return NULL;
	list_remove(item);
	return item;
}

/* Walk a list. The list must not change meanwhile. */
#define list_for_each(pos, head) \
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

#endif /* BASE_LIST_H */
