/* SPDX-License-Identifier: MIT */
/*
 * A shared library that is loaded only if it is used. The program starts
 * without the library, and a package need not depend on it.
 */
#ifndef CRYPTO_LIBRARY_H
#define CRYPTO_LIBRARY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/**
 * struct library_symbol - a function to look up
 * @name:	the function's name in the library
 * @function:	address of a pointer to a function of the right type; the
 *		pointer is set
 */
struct library_symbol {
	const char *name;
	void *function;
};

/**
 * struct library - a library, and how often it is in use
 * @name:	[I] the library's name with its version, which the loader looks
 *		for in the loader's own path; or an absolute path
 * @symbols:	[I] the functions
 * @n_symbols:	[I] how many
 * @start:	[I] called each time the library was loaded; false if it cannot
 *		be used. NULL if nothing is to be done
 * @lock:	held for the members below
 * @handle:	[m] what dlopen(3) gave; NULL if the library is not loaded
 * @n_users:	[m] calls of library_get() without a library_put()
 *
 * Static storage; @lock is PTHREAD_MUTEX_INITIALIZER.
 */
struct library {
	const char *name;
	const struct library_symbol *symbols;
	size_t n_symbols;
	bool (*start)(void);
	pthread_mutex_t lock;
	void *handle;
	unsigned int n_users;
};

/**
 * library_get() - load a library and find functions in it, or use it once more
 * @library:	library
 *
 * The library stays loaded until the last user gives it back. This function
 * opens files, so call it before the process isolates itself. Any thread.
 *
 * Return: true if the library and all functions are there.
 */
bool library_get(struct library *library);

/**
 * library_put() - give a library back
 * @library:	library, from a library_get() that has returned true
 *
 * The last user unloads the library. No code of it may run after that, also not
 * at the end of a thread. Some libraries stay in memory all the same: their
 * makers have marked them so (DF_1_NODELETE). Any thread.
 */
void library_put(struct library *library);

#endif /* CRYPTO_LIBRARY_H */
