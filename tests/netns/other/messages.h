/* SPDX-License-Identifier: MIT */
/* Included before the first line of a source: a program that has another version. The
 * number in the header is that of an enum, so a macro can hide it. */
#include "cli/handover.h"

#define HANDOVER_VERSION 99
