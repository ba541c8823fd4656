/* SPDX-License-Identifier: MIT */
#ifndef CRYPTO_INIT_H
#define CRYPTO_INIT_H

/**
 * crypto_init() - let the libraries choose their implementations, and try them
 *
 * Call it once, before anything else of this room and before other threads.
 *
 * Return: 0; -EIO if libsodium cannot work here.
 */
int crypto_init(void);

#endif /* CRYPTO_INIT_H */
