// SPDX-License-Identifier: GPL-2.0
/*
 * Connects again and again by rdma_cm, and sends a message as soon as a connection is
 * there: the other side, which comes last wherever both want to run, may not have
 * finished accepting it by then, and has to receive it all the same.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#include "common.h"

#define PORT "18620"
#define PATIENCE_SECONDS 20

static struct rdma_addrinfo *address_of(const char *name, int flags)
{
	struct rdma_addrinfo hints = { .ai_flags = flags, .ai_port_space = RDMA_PS_TCP }, *found;

	if (rdma_getaddrinfo(name, PORT, &hints, &found))
		die("no RDMA device has the address %s", name);
	return found;
}

static struct rdma_cm_id *endpoint(struct rdma_addrinfo *address)
{
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC, .sq_sig_all = 1,
	};
	struct rdma_cm_id *id;

	if (rdma_create_ep(&id, address, NULL, &init))
		die("rdma_create_ep: %m");
	return id;
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static bool completes(struct ibv_cq *cq)
{
	time_t end = seconds() + PATIENCE_SECONDS;
	struct ibv_wc wc;

	while (!ibv_poll_cq(cq, 1, &wc)) {
		if (seconds() > end)
			return false;
		usleep(100);
	}
	return wc.status == IBV_WC_SUCCESS;
}

static struct server {
	struct rdma_cm_id *listener;
	unsigned int rounds;
	atomic_uint received;
	atomic_uint over;
} server;

static void accept_one(void)
{
	struct rdma_cm_id *id;
	struct ibv_mr *mr;
	char message[64];

	if (rdma_get_request(server.listener, &id))
		die("rdma_get_request: %m");
	mr = rdma_reg_msgs(id, message, sizeof(message));
	if (!mr || rdma_post_recv(id, NULL, message, sizeof(message), mr))
		die("posting a receive: %m");
	if (rdma_accept(id, NULL))
		die("rdma_accept: %m");
	if (completes(id->recv_cq))
		atomic_fetch_add(&server.received, 1);
	atomic_fetch_add(&server.over, 1);
	rdma_disconnect(id);
	rdma_dereg_mr(mr);
	rdma_destroy_ep(id);
}

static void *serve(void *arg)
{
	struct sched_param param = {};

	if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &param))
		die("SCHED_IDLE");
	for (unsigned int i = 0; i < server.rounds; i++)
		accept_one();
	return arg;
}

static void connect_one(struct rdma_addrinfo *address)
{
	struct rdma_cm_id *id = endpoint(address);
	unsigned int over = atomic_load(&server.over);
	char message[64] = "early";
	struct ibv_mr *mr = rdma_reg_msgs(id, message, sizeof(message));

	if (!mr)
		die("rdma_reg_msgs: %m");
	if (rdma_connect(id, NULL))
		die("rdma_connect: %m");
	if (rdma_post_send(id, NULL, message, sizeof(message), mr, 0))
		die("rdma_post_send: %m");
	while (atomic_load(&server.over) == over)
		usleep(100);
	rdma_disconnect(id);
	rdma_dereg_mr(mr);
	rdma_destroy_ep(id);
}

/* A CPU for all: what the server wakes up goes on before it does. */
static void on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("sched_setaffinity: %m");
}

int main(int argc, char **argv)
{
	struct rdma_addrinfo *here, *there;
	pthread_t thread;

	if (argc == 3)
		server.rounds = strtoul(argv[2], NULL, 0);
	if (!server.rounds)
		die("usage: phyr_connect ADDRESS CONNECTIONS");
	on_one_cpu();
	here = address_of(argv[1], RAI_PASSIVE);
	there = address_of(argv[1], 0);
	server.listener = endpoint(here);
	if (rdma_listen(server.listener, 1))
		die("rdma_listen: %m");
	if (pthread_create(&thread, NULL, serve, NULL))
		die("pthread_create");

	ktap_start();
	for (unsigned int i = 0; i < server.rounds; i++)
		connect_one(there);
	pthread_join(thread, NULL);
	rdma_destroy_ep(server.listener);
	rdma_freeaddrinfo(here);
	rdma_freeaddrinfo(there);
	ktap_result(server.received == server.rounds, "first messages received: %u of %u",
		    server.received, server.rounds);
	return ktap_finish();
}
