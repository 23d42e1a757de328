/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of phyr_rereg share.
 */
#ifndef PHYR_REREG_H
#define PHYR_REREG_H

#include "rc.h"

#define CHANGE_TRANS IBV_REREG_MR_CHANGE_TRANSLATION
#define CHANGE_PD IBV_REREG_MR_CHANGE_PD
#define CHANGE_ACCESS IBV_REREG_MR_CHANGE_ACCESS

#define ALL_ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		    IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_MW_BIND)

/* ibv_rereg_mr() with an errno for a result. */
int rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len, int access);

/*
 * Re-registers an MR @rounds times under reads and writes of another thread.
 * @path is the access flag of the path; @corrupt puts a wrong byte where a late
 * write would be.
 */
void race_translation(const char *device, int path, unsigned int rounds, bool corrupt);
void race_access(const char *device, int path, unsigned int rounds, bool corrupt);
void race_pd(const char *device, int path, unsigned int rounds, bool corrupt);

#endif
