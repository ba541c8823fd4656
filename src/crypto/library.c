/* SPDX-License-Identifier: MIT */
/*
 * A library loaded by dlopen(3). RTLD_LOCAL keeps the library's symbols apart
 * from the program's own. RTLD_NOW has the loader resolve all symbols at once:
 * once the process has isolated itself, no file can be opened.
 */
#include "crypto/library.h"

#include <dlfcn.h>
#include <string.h>

bool library_load(const char *soname, const struct library_symbol *symbols,
		  size_t n)
{
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return false;
	for (size_t i = 0; i < n; i++) {
		void *symbol = dlsym(handle, symbols[i].name);

		if (!symbol) {
			dlclose(handle);
			return false;
		}
		/* POSIX: the address of a function fits a pointer to void. */
		memcpy(symbols[i].function, &symbol, sizeof(symbol));
	}
	return true;
}
