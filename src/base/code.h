/* SPDX-License-Identifier: MIT */
/*
 * Memory that code takes. What has run once stays resident; pages that nobody
 * can have written to come back from their file when they are used again.
 */
#ifndef BASE_CODE_H
#define BASE_CODE_H

/**
 * code_release() - give back the pages of a library, or of all
 * @of:		an address within the library's code: that code alone goes;
 *		NULL: the code and constants of the program and its libraries
 *
 * For after something large that is not done again soon. Without it there is
 * only more memory in use, so no error is reported. Whoever has written to code
 * from outside loses that: a debugger has to set its breakpoints afterwards.
 * Objects whose code the loader has changed are left alone. Any thread.
 */
void code_release(const void *of);

#endif /* BASE_CODE_H */
