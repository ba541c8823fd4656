/* SPDX-License-Identifier: MIT */
/*
 * A library loaded by dlopen(3). RTLD_LOCAL keeps the library's symbols apart
 * from the program's own. RTLD_NOW has the loader resolve all symbols at once:
 * once the process has isolated itself, no file can be opened.
 */
#include "crypto/library.h"

#include <dlfcn.h>
#include <string.h>

static bool find_symbols(const struct library *library, void *handle)
{
	for (size_t i = 0; i < library->n_symbols; i++) {
		const struct library_symbol *wanted = &library->symbols[i];
		void *symbol = dlsym(handle, wanted->name);

		if (!symbol)
			return false;
		/* POSIX: the address of a function fits a pointer to void. */
		memcpy(wanted->function, &symbol, sizeof(symbol));
	}
	return true;
}

static bool load(struct library *library)
{
	void *handle = dlopen(library->name, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return false;
	if (!find_symbols(library, handle) ||
	    (library->start && !library->start())) {
		dlclose(handle);
		return false;
	}
	library->handle = handle;
	return true;
}

bool library_get(struct library *library)
{
	bool is_there;

	pthread_mutex_lock(&library->lock);
	is_there = library->handle || load(library);
	if (is_there)
		library->n_users++;
	pthread_mutex_unlock(&library->lock);
	return is_there;
}

void library_put(struct library *library)
{
	pthread_mutex_lock(&library->lock);
	if (!--library->n_users) {
		dlclose(library->handle);
		library->handle = NULL;
	}
	pthread_mutex_unlock(&library->lock);
}
