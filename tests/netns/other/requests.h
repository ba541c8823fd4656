/* SPDX-License-Identifier: MIT */
/* Included before the first line of a source: a program that has another version. The
 * number in the header is that of an enum, so a macro can hide it. */
#include "keeper/request.h"

#define REQUEST_VERSION 99
