/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_LAYOUT_H
#define REG_MR_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <infiniband/verbs.h>

/* How the kernel holds an MR, and what registering it consisted of */
struct reg_mr_layout {
	const char *path;		/* "unknown" if the kernel does not tell */
	uint64_t ranges;
	uint64_t block_size;
	uint64_t pinned_bytes;
	uint64_t desc_bytes;
	bool has_times;
	uint64_t pin_ns;
	uint64_t map_ns;
	uint64_t driver_ns;
};

/* Returns 0 or an errno, EOPNOTSUPP if the kernel or rdma-core can't tell */
int reg_mr_query_layout(struct ibv_mr *mr, struct reg_mr_layout *layout);

/*
 * Whether the times can be had of MRs like this one, which is deregistered, with a
 * message on stderr if not. NULL and errno is one that couldn't be registered.
 */
bool reg_mr_has_times(struct ibv_mr *mr);

#endif /* REG_MR_LAYOUT_H */
