// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "graph.h"

/* A kernel with another HZ is served as well. */
#define TICK_NS 4000000
#define TRACING "/sys/kernel/tracing/"

static bool try_write(const char *file, const char *what, int flags)
{
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC | flags);
	if (fd < 0)
		return false;
	n = write(fd, what, strlen(what));
	close(fd);
	return n >= 0;
}

static void set(const char *file, const char *what)
{
	if (!try_write(file, what, O_TRUNC))
		die("can't write \"%s\" to " TRACING "%s: %m (run as root, on a kernel with CONFIG_FUNCTION_GRAPH_TRACER)",
		    what, file);
}

void graph_open(const char *const *functions)
{
	const char *first = *functions;
	bool any = false;

	graph_close();
	for (; *functions; functions++)
		any |= try_write("set_ftrace_filter", *functions, O_APPEND);
	/* An empty filter would trace all that there is. */
	if (!any)
		die("can't trace %s: %m", first);
	set("current_tracer", "function_graph");
	set("options/funcgraph-cpu", "0");
	set("options/funcgraph-overhead", "0");
	/* A call with others inside is one line at its end, with its name. */
	set("options/funcgraph-tail", "1");
}

void graph_close(void)
{
	set("tracing_on", "0");
	set("current_tracer", "nop");
	set("set_ftrace_filter", "");
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

void graph_drift(unsigned int run, unsigned int runs)
{
	uint64_t end = now_ns() + (uint64_t)run * TICK_NS / runs;

	while (now_ns() < end)
		;
}

void graph_start(void)
{
	/* Opening it to write clears it. */
	set("trace", "");
	set("tracing_on", "1");
}

/* "12.345 us": seven digits and no more, so a long call has fewer decimals. */
static bool parse_ns(const char *text, uint64_t *ns)
{
	char *end;

	*ns = strtoull(text, &end, 10) * 1000;
	if (end == text)
		return false;
	if (*end == '.')
		for (uint64_t unit = 100; isdigit(*++end); unit /= 10)
			*ns += (*end - '0') * unit;
	return !strncmp(end + strspn(end, " "), "us", 2);
}

static bool parse_call(const char *line, struct graph_call *call)
{
	const char *name = strchr(line, '|');

	if (!parse_ns(line, &call->ns) || !name)
		return false;
	name += strspn(name, "| }/*");
	snprintf(call->function, sizeof(call->function), "%.*s",
		 (int)strcspn(name, "( ["), name);
	return true;
}

size_t graph_stop(struct graph_call **calls)
{
	size_t n = 0, room = 0;
	char line[256];
	FILE *f;

	set("tracing_on", "0");
	f = fopen(TRACING "trace", "r");
	if (!f)
		die(TRACING "trace: %m");
	*calls = NULL;
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "LOST"))
			die("the trace has lost calls (raise " TRACING "buffer_size_kb)");
		if (n == room) {
			room = room ? 2 * room : 64;
			*calls = realloc(*calls, room * sizeof(**calls));
			if (!*calls)
				die("out of memory");
		}
		n += parse_call(line, &(*calls)[n]);
	}
	fclose(f);
	return n;
}
