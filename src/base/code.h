/* SPDX-License-Identifier: MIT */
/*
 * Memory that the program's code takes. A page of code stays in memory after it
 * has run once. If nobody can have written to the page, it can be given back: the
 * kernel reads it from its file again when it is needed.
 */
#ifndef BASE_CODE_H
#define BASE_CODE_H

/**
 * code_release() - give back the code of one library, or all code
 * @of:		an address within the library's code; NULL for the code and
 *		constants of the program and all its libraries
 *
 * Call it after large work that is not done again soon. If it fails, more memory
 * stays in use, and nothing else happens, so it reports no error. Breakpoints that
 * a debugger has set are lost. Libraries whose code the loader has changed are
 * left alone. Any thread.
 */
void code_release(const void *of);

#endif /* BASE_CODE_H */
