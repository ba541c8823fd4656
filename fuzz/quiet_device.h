/* SPDX-License-Identifier: MIT */
/*
 * A device whose operations do nothing, in the same state for each input: its
 * random numbers come from a counter.
 */
#ifndef FUZZ_QUIET_DEVICE_H
#define FUZZ_QUIET_DEVICE_H

#include "device/device.h"

/* The device, made on the first call; without key, port and peers. */
struct device *quiet_device_get(void);

/*
 * Set the device back to its first state, which is faster than making another.
 */
void quiet_device_clear(struct device *device);

#endif /* FUZZ_QUIET_DEVICE_H */
