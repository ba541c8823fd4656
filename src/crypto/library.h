/* SPDX-License-Identifier: MIT */
/*
 * A shared library that is loaded only if it is used. The program starts
 * without the library, and a package need not depend on it.
 */
#ifndef CRYPTO_LIBRARY_H
#define CRYPTO_LIBRARY_H

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
 * library_load() - load a library and find functions in it
 * @soname:	the library's name with its version; the loader looks for it in
 *		the loader's own path
 * @symbols:	the functions
 * @n:		how many
 *
 * The library stays loaded until the process ends. This function opens files,
 * so call it before the process isolates itself. Any thread.
 *
 * Return: true if the library and all functions are there.
 */
bool library_load(const char *soname, const struct library_symbol *symbols,
		  size_t n);

#endif /* CRYPTO_LIBRARY_H */
