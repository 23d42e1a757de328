/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * The measurements of ib_reg_mr_lat.
 *
 * A run is a sequence of turns. In a turn all threads register by one path, and
 * they wait for each other before the next. One path has a single turn with all
 * registrations; two paths take turns of one registration each, so that whatever
 * changes meanwhile happens to both, and never run at the same time.
 *
 * The first thread is the one that called, and the only one unless more are asked
 * for: a process with several threads pays for each system call what a process
 * with one does not. It decides when the run is over.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "get_clock.h"
#include "page_memory.h"
#include "reg_mr_layout.h"
#include "reg_mr_report.h"
#include "reg_mr_run.h"

/* With --duration, to begin with */
#define FIRST_ROOM 4096

struct run {
	const struct reg_mr_parameters *param;
	const struct reg_mr_target *target;
	atomic_int error[REG_MR_MAX_PATHS];

	/* Held until all threads are there, or one could not be started */
	pthread_mutex_t gate;
	bool cancelled;
	pthread_barrier_t barrier;

	/* The first thread's */
	uint64_t deadline;
	uint64_t turn_start;
	uint64_t elapsed[REG_MR_MAX_PATHS];
	/* And its word to the others: this turn is not taken any more */
	atomic_uint_fast64_t end;
};

struct worker {
	struct run *run;
	pthread_t thread;
	bool first;
	char *addr;
	struct reg_mr_samples samples[REG_MR_MAX_PATHS];
};

int reg_mr_access(enum reg_mr_path path)
{
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		     IBV_ACCESS_REMOTE_READ;

	if (path == REG_MR_ODP)
		access |= IBV_ACCESS_ON_DEMAND;
#ifdef HAVE_ACCESS_PAGE_LIST
	if (path == REG_MR_PAGES)
		access |= IBV_ACCESS_PAGE_LIST;
#endif
	return access;
}

struct ibv_mr *reg_mr_register(const struct reg_mr_target *target, char *addr,
			       int access)
{
#ifdef HAVE_REG_DMABUF_MR
	if (target->dmabuf_fd >= 0)
		return ibv_reg_dmabuf_mr(target->pd, target->dmabuf_offset + (addr - target->addr),
					 target->size, (uintptr_t)addr,
					 target->dmabuf_fd, access);
#endif
	return ibv_reg_mr(target->pd, addr, target->size, access);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

/* Only the first to fail says so, of all threads */
static void failed(struct worker *worker, unsigned int path, const char *verb,
		   int error)
{
	struct run *run = worker->run;
	uint64_t size = run->target->size;
	struct rlimit limit;
	int none = 0;

	if (!atomic_compare_exchange_strong(&run->error[path], &none, error))
		return;
	fprintf(stderr, " %s of %" PRIu64 " bytes (%s) failed after %" PRIu64 " iterations: %s (%s)\n",
		verb, size, reg_mr_path_name(run->param->paths[path]),
		worker->samples[path].n, strerror(error), reg_mr_error_name(error));
	if (error == ENOMEM && !getrlimit(RLIMIT_MEMLOCK, &limit) &&
	    limit.rlim_cur / run->param->threads < size)
		fprintf(stderr, " The limit of locked memory is %" PRIu64 " bytes: look at ulimit -l\n",
			(uint64_t)limit.rlim_cur);
}

static bool break_down(struct worker *worker, unsigned int path,
		       struct ibv_mr *mr, uint64_t values[REG_MR_STEPS])
{
	struct reg_mr_layout layout = {};
	int error = reg_mr_query_layout(mr, &layout);

	if (error || !layout.has_times) {
		failed(worker, path, "ibv_query_mr_layout", error ? error : EOPNOTSUPP);
		return false;
	}
	values[REG_MR_PIN] = layout.pin_ns;
	values[REG_MR_MAP] = layout.map_ns;
	values[REG_MR_DRIVER] = layout.driver_ns;
	return true;
}

/* One registration and deregistration */
static bool register_once(struct worker *worker, unsigned int path,
			  uint64_t values[REG_MR_STEPS])
{
	const struct reg_mr_parameters *param = worker->run->param;
	const struct reg_mr_target *target = worker->run->target;
	int access = reg_mr_access(param->paths[path]);
	cycles_t start, end;
	struct ibv_mr *mr;
	int error;

	start = get_cycles();
	mr = reg_mr_register(target, worker->addr, access);
	end = get_cycles();
	if (!mr) {
		failed(worker, path, target->dmabuf_fd < 0 ? "ibv_reg_mr" : "ibv_reg_dmabuf_mr", errno);
		return false;
	}
	values[REG_MR_REG] = end - start;

	if (param->breakdown && !break_down(worker, path, mr, values)) {
		ibv_dereg_mr(mr);
		return false;
	}

	start = get_cycles();
	error = ibv_dereg_mr(mr);
	end = get_cycles();
	if (error) {
		failed(worker, path, "ibv_dereg_mr", error);
		return false;
	}
	values[REG_MR_DEREG] = end - start;
	return true;
}

/* Written to here, so that no page fault falls between the measurements */
static bool make_room(struct reg_mr_samples *samples, int steps, uint64_t room)
{
	uint64_t *values;
	int i;

	for (i = 0; i < steps; i++) {
		values = realloc(samples->of[i], room * sizeof(*values));
		if (!values)
			return false;
		memset(values + samples->room, 0xff,
		       (room - samples->room) * sizeof(*values));
		samples->of[i] = values;
	}
	samples->room = room;
	return true;
}

static bool sample(struct worker *worker, unsigned int path)
{
	struct reg_mr_samples *samples = &worker->samples[path];
	int steps = reg_mr_steps(worker->run->param), i;
	uint64_t values[REG_MR_STEPS];

	if (samples->n == samples->room &&
	    !make_room(samples, steps, 2 * samples->room)) {
		fprintf(stderr, " -D, --duration: no memory for more than %" PRIu64 " samples, choose a shorter one\n",
			samples->n);
		atomic_store(&worker->run->error[path], ENOMEM);
		return false;
	}
	if (!register_once(worker, path, values))
		return false;
	for (i = 0; i < steps; i++)
		samples->of[i][samples->n] = values[i];
	samples->n++;
	return true;
}

static void take_turn(struct worker *worker, unsigned int path)
{
	const struct reg_mr_parameters *param = worker->run->param;
	struct run *run = worker->run;
	uint64_t n = 0;

	while (!atomic_load(&run->error[path]) && sample(worker, path)) {
		n++;
		if (param->n_paths > 1)
			break;
		if (param->duration ? now_ns() >= run->deadline : n == param->iters)
			break;
	}
}

static bool is_over(struct run *run, uint64_t turn)
{
	const struct reg_mr_parameters *param = run->param;
	unsigned int path, errors = 0;

	if (!turn) {
		run->deadline = now_ns() + param->duration * UINT64_C(1000000000);
		return false;
	}
	for (path = 0; path < param->n_paths; path++)
		errors += atomic_load(&run->error[path]) != 0;
	if (param->n_paths == 1 || errors == param->n_paths)
		return true;
	if (turn % param->n_paths)
		return false;
	return param->duration ? now_ns() >= run->deadline :
				 turn == param->iters * param->n_paths;
}

static void work(struct worker *worker)
{
	struct run *run = worker->run;
	unsigned int n_paths = run->param->n_paths, path;
	uint64_t ignored[REG_MR_STEPS], turn, i;
	cycles_t now;

	for (i = 0; i < run->param->warmup; i++)
		for (path = 0; path < n_paths; path++)
			if (!atomic_load(&run->error[path]))
				register_once(worker, path, ignored);

	for (turn = 0;; turn++) {
		if (worker->first && is_over(run, turn))
			atomic_store(&run->end, turn);
		if (run->param->threads > 1)
			pthread_barrier_wait(&run->barrier);
		if (worker->first) {
			now = get_cycles();
			if (turn)
				run->elapsed[(turn - 1) % n_paths] += now - run->turn_start;
			run->turn_start = now;
		}
		if (turn >= atomic_load(&run->end))
			break;
		take_turn(worker, turn % n_paths);
	}
}

static void *work_in_thread(void *arg)
{
	struct worker *worker = arg;
	struct run *run = worker->run;
	bool cancelled;

	pthread_mutex_lock(&run->gate);
	cancelled = run->cancelled;
	pthread_mutex_unlock(&run->gate);
	if (!cancelled)
		work(worker);
	return NULL;
}

static int work_in_threads(struct run *run, struct worker *workers)
{
	unsigned int i, started;
	int error = 0;

	pthread_mutex_init(&run->gate, NULL);
	pthread_barrier_init(&run->barrier, NULL, run->param->threads);

	pthread_mutex_lock(&run->gate);
	for (started = 1; started < run->param->threads; started++) {
		error = pthread_create(&workers[started].thread, NULL,
				       work_in_thread, &workers[started]);
		if (error) {
			fprintf(stderr, " --threads: couldn't start number %u: %s: ask for fewer, or look at ulimit -u\n",
				started + 1, strerror(error));
			run->cancelled = true;
			break;
		}
	}
	pthread_mutex_unlock(&run->gate);

	if (!error)
		work(&workers[0]);
	for (i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);

	pthread_barrier_destroy(&run->barrier);
	pthread_mutex_destroy(&run->gate);
	return error ? -1 : 0;
}

static int prepare(struct run *run, struct worker *workers)
{
	const struct reg_mr_parameters *param = run->param;
	uint64_t room = param->duration ? FIRST_ROOM : param->iters;
	int steps = reg_mr_steps(param);
	unsigned int i, path;
	bool fits = room <= page_memory_available() / param->threads /
			    param->n_paths / (steps * sizeof(uint64_t));

	for (i = 0; i < param->threads; i++) {
		workers[i].run = run;
		workers[i].first = !i;
		workers[i].addr = run->target->addr + i * run->target->stride;
		for (path = 0; fits && path < param->n_paths; path++)
			fits = make_room(&workers[i].samples[path], steps, room);
	}
	if (fits)
		return 0;
	fprintf(stderr, " -n, --iters: no memory for so many samples, ask for fewer%s\n",
		param->threads > 1 ? " or for fewer --threads" : "");
	return -1;
}

static int collect(struct run *run, struct worker *workers, unsigned int path,
		   struct reg_mr_samples *all)
{
	int steps = reg_mr_steps(run->param), step;
	struct reg_mr_samples *part;
	uint64_t room = 0;
	unsigned int i;

	for (i = 0; i < run->param->threads; i++)
		room += workers[i].samples[path].n;
	if (run->param->threads == 1) {
		*all = workers[0].samples[path];
		workers[0].samples[path] = (struct reg_mr_samples) {};
	} else if (room) {
		if (!make_room(all, steps, room)) {
			fprintf(stderr, " --threads: no memory for all their samples, ask for fewer\n");
			return -1;
		}
		for (i = 0; i < run->param->threads; i++) {
			part = &workers[i].samples[path];
			for (step = 0; step < steps; step++)
				memcpy(all->of[step] + all->n, part->of[step],
				       part->n * sizeof(uint64_t));
			all->n += part->n;
		}
	}
	all->elapsed = run->elapsed[path];
	all->error = atomic_load(&run->error[path]);
	return 0;
}

int reg_mr_run(const struct reg_mr_parameters *param,
	       const struct reg_mr_target *target,
	       struct reg_mr_samples samples[])
{
	struct run run = {
		.param = param,
		.target = target,
		.end = UINT64_MAX,
	};
	struct worker *workers = calloc(param->threads, sizeof(*workers));
	unsigned int i, path;
	int ret = -1;

	if (!workers)
		return -1;
	if (prepare(&run, workers))
		goto out;

	if (param->threads > 1)
		ret = work_in_threads(&run, workers);
	else {
		work(&workers[0]);
		ret = 0;
	}
	for (path = 0; !ret && path < param->n_paths; path++)
		ret = collect(&run, workers, path, &samples[path]);
out:
	for (i = 0; i < param->threads; i++)
		for (path = 0; path < param->n_paths; path++)
			reg_mr_free_samples(&workers[i].samples[path]);
	free(workers);
	return ret;
}

void reg_mr_free_samples(struct reg_mr_samples *samples)
{
	int i;

	for (i = 0; i < REG_MR_STEPS; i++)
		free(samples->of[i]);
	*samples = (struct reg_mr_samples) {};
}
