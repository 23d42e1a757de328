// SPDX-License-Identifier: GPL-2.0
/*
 * Registers memory, says so, and holds it until it is killed: what happens to the
 * pins of a process that never deregisters is for the caller to look at.
 *
 * No access flag is used here, so RDMAV_MR_PATH alone chooses the path.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "rc.h"

int main(int argc, char **argv)
{
	const char *device = "rxe0", *kind = "4K", *why;
	struct pin_counters before;
	struct rng rng = { 1 };
	struct region region;
	size_t len = 2 * MiB;
	struct ibv_pd *pd;
	int c;

	while ((c = getopt(argc, argv, "d:k:b:")) != -1) {
		switch (c) {
		case 'd':
			device = optarg;
			break;
		case 'k':
			kind = optarg;
			break;
		case 'b':
			len = strtoull(optarg, NULL, 0);
			break;
		default:
			die("usage: phyr_hold [-d DEVICE] [-k MEMORY] [-b BYTES]");
		}
	}

	why = region_create(&region, kind, len, &rng);
	if (why)
		die("%s: %s", kind, why);
	pd = ibv_alloc_pd(device_open(device));
	if (!pd)
		die("ibv_alloc_pd: %m");
	before = pin_counters_read();
	if (!ibv_reg_mr(pd, region.addr, len, IBV_ACCESS_LOCAL_WRITE))
		die("ibv_reg_mr: %s", errno_name(errno));
	printf("held pins=%llu vmpin_kb=%llu\n",
	       (unsigned long long)pins_held_since(before),
	       (unsigned long long)vmpin_kb());
	fflush(stdout);
	for (;;)
		pause();
}
