/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/* What ibv_query_mr_layout() says of an MR, if rdma-core has it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "reg_mr_layout.h"

#define TIMES_SWITCH "/sys/module/ib_core/parameters/mr_times"

#ifdef HAVE_QUERY_MR_LAYOUT
int reg_mr_query_layout(struct ibv_mr *mr, struct reg_mr_layout *layout)
{
	static const char *const paths[] = {
		[IBV_MR_PATH_UNKNOWN]	= "unknown",
		[IBV_MR_PATH_PAGES]	= "pages",
		[IBV_MR_PATH_PHYR]	= "phyr",
		[IBV_MR_PATH_ODP]	= "odp",
	};
	struct ibv_mr_layout answer = {};
	unsigned int path;
	int ret;

	ret = ibv_query_mr_layout(mr, &answer, 0);
	if (ret)
		return ret;

	path = answer.path;
	*layout = (struct reg_mr_layout) {
		.path = path < sizeof(paths) / sizeof(paths[0]) ? paths[path] : paths[0],
		.ranges = answer.num_ranges,
		.block_size = answer.block_size,
		.pinned_bytes = answer.pinned_bytes,
		.desc_bytes = answer.desc_bytes,
		.has_times = answer.flags & IBV_MR_LAYOUT_TIMES,
		.pin_ns = answer.pin_ns,
		.map_ns = answer.map_ns,
		.driver_ns = answer.driver_ns,
	};
	return 0;
}
#else
int reg_mr_query_layout(struct ibv_mr *mr, struct reg_mr_layout *layout)
{
	(void)mr;
	(void)layout;
	return EOPNOTSUPP;
}
#endif

bool reg_mr_has_times(struct ibv_mr *mr)
{
	struct reg_mr_layout layout = {};
	int error = mr ? reg_mr_query_layout(mr, &layout) : errno;

	if (mr)
		ibv_dereg_mr(mr);

	if (!error && layout.has_times)
		return true;
	if (!error)
		fprintf(stderr, " --breakdown: the kernel does not take these times. Switch them on, as root, with\n"
			"   echo 1 > " TIMES_SWITCH "\n");
	else if (error == EOPNOTSUPP)
		fprintf(stderr, " --breakdown: the kernel or the driver can't tell what registration consists of: leave it out, or boot a kernel that has the MR layout query\n");
	else
		fprintf(stderr, " --breakdown: couldn't %s: %s\n",
			mr ? "query the layout of an MR" : "register memory", strerror(error));
	return false;
}
