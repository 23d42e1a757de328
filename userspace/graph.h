/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long kernel functions take, call by call and to the nanosecond, by the
 * function_graph tracer. What it adds to each call is the same for all of them.
 */
#ifndef PHYR_GRAPH_H
#define PHYR_GRAPH_H

#include "common.h"

struct graph_call {
	char function[48];
	uint64_t ns;
};

/* Trace @functions (NULL at the end); those the kernel doesn't have are left out. */
void graph_open(const char *const *functions);
void graph_close(void);

/*
 * Wait for @run / @runs of the time between two interrupts of the timer. What the
 * tracer does waits for the timer, so that without this the next interrupt would
 * come at the same place in each run of the same thing.
 */
void graph_drift(unsigned int run, unsigned int runs);

/* Between these two, calls are recorded. */
void graph_start(void);
/* Returns how many calls there were; *@calls is for the caller to free. */
size_t graph_stop(struct graph_call **calls);

#endif
