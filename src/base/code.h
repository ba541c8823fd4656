/* SPDX-License-Identifier: MIT */
/*
 * Memory that the program's code takes. A page of code stays in memory after it
 * has run once. If nobody can have written to the page, the page can be given
 * back: the kernel reads it from its file again when it is needed.
 */
#ifndef BASE_CODE_H
#define BASE_CODE_H

/**
 * code_release() - give back the code of one library, or all code
 * @of:		an address within the library's code; NULL for the code and
 *		constants of the program and all its libraries
 *
 * Call this function after a large piece of work that is not done again soon. A
 * failure is not reported: its only effect is that more memory stays in use.
 * Breakpoints that a debugger has set are lost. Libraries whose code the loader
 * has changed are left alone. Any thread.
 */
void code_release(const void *of);

#endif /* BASE_CODE_H */
