// SPDX-License-Identifier: GPL-2.0
/*
 * How long it takes from the peer's program to one of Linux's.
 *
 *   latency [-i MICROSECONDS] [-p PRIORITY] [-u DEVICE] COUNT
 *
 * Asks the peer's stamp service (vsock, port 37) COUNT times, MICROSECONDS apart on average (1000), and compares the
 * counter that is in each answer with what it is here when that is read: both sides read CNTVCT_EL0. With a DEVICE
 * (/dev/uio0) with what it was when that told of the peer's interrupt (stamp-irq=), before the answer was read. With a
 * PRIORITY by SCHED_FIFO, and memory that is locked. Prints one line, "answers COUNT" and nanoseconds: "min N
 * median N p99 N max N" of the way here, and the same of the whole round trip. The status is 0 if each answer came,
 * and says a time between the question and now.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PEER_CID 2
#define STAMP 37
/* Only a hang takes as long. */
#define PATIENCE 60
/* The first ones are slower: nothing of them is cached, on either side. */
#define WARM 20

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t counter(void)
{
	uint64_t now;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r"(now) : : "memory");
	return now;
}

static uint64_t frequency(void)
{
	uint64_t hz;

	asm("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz;
}

static int compare(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return a < b ? -1 : a > b;
}

static void show(const char *what, uint64_t *ticks, size_t count)
{
	double ns = 1e9 / frequency();

	qsort(ticks, count, sizeof(*ticks), compare);
	printf(" %s min %.0f median %.0f p99 %.0f max %.0f", what, ticks[0] * ns, ticks[count / 2] * ns,
	       ticks[count * 99 / 100] * ns, ticks[count - 1] * ns);
}

/* Wait for the interrupt of a stamp. */
static void wait_interrupt(int uio)
{
	struct pollfd it = { .fd = uio, .events = POLLIN };
	uint32_t count;
	int ready;

	/* Its read() has no time limit. */
	ready = poll(&it, 1, PATIENCE * 1000);
	if (!ready)
		errno = ETIMEDOUT;
	if (ready < 1 || read(uio, &count, sizeof(count)) != sizeof(count))
		die("interrupt");
}

int main(int argc, char **argv)
{
	struct sockaddr_vm peer = {
		.svm_family = AF_VSOCK, .svm_cid = PEER_CID, .svm_port = STAMP,
	};
	struct timeval patience = { .tv_sec = PATIENCE };
	struct sched_param sched = { };
	uint64_t *here, *there, asked, stamp, now;
	unsigned int interval = 1000;
	long count, i;
	int fd, opt, uio = -1;

	while ((opt = getopt(argc, argv, "i:p:u:")) != -1) {
		if (opt == 'i') {
			interval = strtoul(optarg, NULL, 10);
		} else if (opt == 'p') {
			sched.sched_priority = atoi(optarg);
		} else if (opt == 'u') {
			uio = open(optarg, O_RDWR);
			if (uio < 0)
				die(optarg);
		} else {
			return 2;
		}
	}
	if (optind + 1 != argc)
		return 2;
	count = strtol(argv[optind], NULL, 10);
	if (count < 1)
		return 2;
	here = calloc(count, sizeof(*here));
	there = calloc(count, sizeof(*there));
	if (!here || !there)
		die("memory");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	if (sched.sched_priority && sched_setscheduler(0, SCHED_FIFO, &sched))
		die("SCHED_FIFO");
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof(peer)))
		die("connect");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		die("SO_RCVTIMEO");
	for (i = -WARM; i < count; i++) {
		/* Not in step with anything that is periodic. */
		struct timespec pause = { .tv_nsec = 1000L * (interval / 2 + random() % (interval + 1)) };

		nanosleep(&pause, NULL);
		asked = counter();
		if (send(fd, "?", 1, 0) != 1)
			die("send");
		if (uio >= 0) {
			wait_interrupt(uio);
			now = counter();
		}
		if (recv(fd, &stamp, sizeof(stamp), MSG_WAITALL) != sizeof(stamp))
			die("recv");
		if (uio < 0)
			now = counter();
		if (stamp < asked || stamp > now) {
			fprintf(stderr, "a stamp of %llu, between %llu and %llu\n", (unsigned long long)stamp,
				(unsigned long long)asked, (unsigned long long)now);
			return 1;
		}
		if (i < 0)
			continue;
		here[i] = now - stamp;
		there[i] = now - asked;
	}
	printf("answers %ld", count);
	show("way", here, count);
	show("trip", there, count);
	puts("");
	return 0;
}
