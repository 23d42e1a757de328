/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults, one at a time: the nth place that the kernel comes by where something
 * can be made to fail does fail. Needs root, debugfs and a kernel with fault
 * injection, see the kernel's Documentation/fault-injection/fault-injection.rst.
 */
#ifndef PHYR_FAULT_H
#define PHYR_FAULT_H

#include "common.h"

/*
 * Makes every allocation and every copy from and to user space a place, and
 * nothing fail yet. Returns NULL, or why this kernel can't.
 */
const char *fault_open(void);

/*
 * Makes each call of @function a place as well, one that fails with @err. Returns
 * false if the kernel doesn't let this function fail.
 */
bool fault_function(const char *function, int err);

/* Places that this thread comes by, in system calls and page faults. */
void fault_arm(unsigned int nth);
/* Returns true if one has failed since. */
bool fault_disarm(void);

/* Calls of the functions alone, but whoever makes them: kernel threads too. */
void fault_arm_calls(unsigned int nth);
bool fault_disarm_calls(void);

/* Allocations from one slab cache alone, whoever makes them. */
bool fault_cache(const char *cache);
void fault_arm_objects(unsigned int nth);
bool fault_disarm_objects(void);

/*
 * What kmemleak holds for lost since fault_open(), in number and in bytes. It takes
 * some seconds.
 * Returns NULL, or why that can't be known.
 */
const char *fault_leaks(unsigned long *objects, unsigned long long *bytes);

#endif
