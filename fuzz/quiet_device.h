/* SPDX-License-Identifier: MIT */
/*
 * A device whose owner does nothing that is asked of it, and that is each time
 * the same: what is random is counted.
 */
#ifndef FUZZ_QUIET_DEVICE_H
#define FUZZ_QUIET_DEVICE_H

#include "device/device.h"

/* The device, made on the first call; without key, port and peers. */
struct device *quiet_device_get(void);

/* Once more as it was when it was made: that takes less long than another. */
void quiet_device_clear(struct device *device);

#endif /* FUZZ_QUIET_DEVICE_H */
