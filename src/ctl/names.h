/* SPDX-License-Identifier: MIT */
/* Names of peers, from comments in the configuration of wg-quick(8). */
#ifndef CTL_NAMES_H
#define CTL_NAMES_H

#include "ctl/snapshot.h"

/* Where wg-quick(8) has the configuration of an interface. */
#define CTL_CONFIGURATION "/etc/wireguard"

/**
 * ctl_names_read() - give peers their names
 * @snapshot:	@name of each peer is set if CTL_CONFIGURATION/INTERFACE.conf has it
 *
 * A name stands in the section of its peer, as "# friendly_name = NAME": the form that
 * exporters for Prometheus read, too. A file that is missing, or that this user may
 * not read, has no names.
 */
void ctl_names_read(struct ctl_snapshot *snapshot);

#endif /* CTL_NAMES_H */
