/* SPDX-License-Identifier: MIT */
#ifndef CRYPTO_INIT_H
#define CRYPTO_INIT_H

/**
 * crypto_init() - prepare the libraries, and call each function of them once
 *
 * Call this once, before any other function of this room, and before other
 * threads are made.
 *
 * Return: 0; -EIO if libsodium cannot work here.
 */
int crypto_init(void);

/**
 * crypto_set_report() - say who tells why libsodium ends the process
 * @report:	called before the process ends; NULL, as at first: standard error is told
 *
 * Main thread, while there is no other one.
 */
void crypto_set_report(void (*report)(const char *why));

#endif /* CRYPTO_INIT_H */
