/* SPDX-License-Identifier: MIT */
/* The checks of the command `why`. Each adds its findings to the diagnosis. */
#ifndef CTL_CHECKS_H
#define CTL_CHECKS_H

#include "ctl/diagnosis.h"

/* ctl_check_absence() - no daemon serves the interface; @err says so, as
 * ctl_snapshot_read() */
void ctl_check_absence(struct ctl_diagnosis *d, int err);

/* ctl_check_own() - this end, whatever the peer is; before the checks of the peer,
 * because nothing works if these find a fault */
void ctl_check_own(struct ctl_diagnosis *d);

/* ctl_check_log() - the log, whose faults do not disturb the tunnel */
void ctl_check_log(struct ctl_diagnosis *d);

/* ctl_check_way() - from the address to the endpoint: who has it, and how packets get
 * there */
void ctl_check_way(struct ctl_diagnosis *d);

/* ctl_check_peer() - what the peer answers, from the handshake to full packets */
void ctl_check_peer(struct ctl_diagnosis *d);

#endif /* CTL_CHECKS_H */
