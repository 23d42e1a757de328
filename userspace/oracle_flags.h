/* SPDX-License-Identifier: GPL-2.0 */
/* Of the kernel's include/linux/mm_types.h, which userspace has no header of. */
#ifndef PHYR_ORACLE_FLAGS_H
#define PHYR_ORACLE_FLAGS_H

#define FOLL_WRITE		(1U << 0)
#define FOLL_FORCE		(1U << 3)
#define FOLL_LONGTERM		(1U << 8)
#define FOLL_HONOR_NUMA_FAULT	(1U << 12)

#endif
