/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_RUN_H
#define REG_MR_RUN_H

#include <stdint.h>
#include <infiniband/verbs.h>
#include "reg_mr_parameters.h"

/* What is measured of each MR */
enum reg_mr_step {
	/* In cycles */
	REG_MR_REG,
	REG_MR_DEREG,
	/* --breakdown: parts of REG as the kernel measured them, in nanoseconds */
	REG_MR_PIN,
	REG_MR_MAP,
	REG_MR_DRIVER,
	REG_MR_STEPS,
};

static inline int reg_mr_steps(const struct reg_mr_parameters *param)
{
	return param->breakdown ? REG_MR_STEPS : REG_MR_PIN;
}

/* Each thread registers memory of its own, under one PD */
struct reg_mr_target {
	struct ibv_pd *pd;
	char *addr;			/* the first thread's */
	int dmabuf_fd;			/* its dma-buf, or -1 */
	uint64_t dmabuf_offset;		/* of addr */
	uint64_t stride;		/* from there to the next thread's */
	uint64_t size;
};

/* What one path gave: of several threads, all of one before all of the next */
struct reg_mr_samples {
	uint64_t *of[REG_MR_STEPS];
	uint64_t n;
	uint64_t room;
	uint64_t elapsed;		/* cycles, from the first sample to the last */
	int error;			/* errno that ended it, or 0 */
};

/*
 * Fills in samples, which are empty, for each path of param. Returns 0, or -1 if
 * it could not be run at all; messages go to stderr.
 */
int reg_mr_run(const struct reg_mr_parameters *param,
	       const struct reg_mr_target *target,
	       struct reg_mr_samples samples[]);
void reg_mr_free_samples(struct reg_mr_samples *samples);

/* Access flags of an MR that is registered by a path */
int reg_mr_access(enum reg_mr_path path);

/* Registers what begins at addr, of any thread. Returns NULL and errno if it fails. */
struct ibv_mr *reg_mr_register(const struct reg_mr_target *target, char *addr,
			       int access);

#endif /* REG_MR_RUN_H */
