// SPDX-License-Identifier: GPL-2.0
/*
 * The load of the benchmark, in a process that is started before the clock is.
 *
 *   load rr icmp|udp|tcp|vsock|seqpacket ADDRESS PORT BYTES COUNT
 *                                                         so many there and back, one at a time
 *   load rr port PATH 0 BYTES COUNT                       the same over a character device that echoes
 *   load to tcp|vsock|seqpacket ADDRESS PORT WRITE BYTES  so many bytes to a discard service
 *   load from tcp|vsock|seqpacket ADDRESS PORT READ BYTES so many bytes from a chargen service
 *   load disk read|write PATH BYTES DEPTH COUNT           so many requests to a disk past the caches, DEPTH
 *                                                         at a time, over all of it in turn; "rr" if one
 *   load both udp ADDRESS PORT BYTES ALL                  so many bytes to an echo service and back, as
 *                                                         many datagrams at a time as it has room for
 *   load get vsock ADDRESS PORT                           what a service says until it closes
 *   load file PATH [COMMAND]                              what is read there, once COMMAND was written
 *   load range BEGIN END                                  tells count.c where the transport's code is
 *   load serve ADDRESS ECHO DISCARD CHARGEN [CID]         these services (0: any port), for ever;
 *                                                         and a UDP echo, the fourth port printed
 *
 * A round trip of ICMP ends when the kernel has received the answer, as ping(8) counts it; the others
 * end when this program has it. Results in nanoseconds: "rr COUNT MIN MEDIAN P99 MAX", "bulk BYTES
 * TIME [LOST]", LOST being datagrams. What begins and ends is marked for count.c. The clock of a bulk
 * transfer starts with the first byte; to the service it ends with the service's own end of the connection,
 * when all has arrived.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "load.h"

#define PATIENCE 20
/* Datagrams, and bytes of them, that an echo service keeps for us at least. */
#define AWAY 16
#define AWAY_BYTES (1 << 15)
#define LOST_MS 200

static char buffer[ROOM];

struct address {
	int family, type, protocol;
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_vm vm;
	} to;
};

static void tell(uint64_t value)
{
	int bit;

	for (bit = 63; bit >= 0; bit--) {
		if (value >> bit & 1)
			MARK(BIT_1);
		else
			MARK(BIT_0);
	}
}

void die(const char *what)
{
	perror(what);
	exit(1);
}

size_t number(const char *text, size_t most)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 0);

	if (*end || end == text || value > most) {
		fprintf(stderr, "load: not within 0 and %zu: %s\n", most, text);
		exit(2);
	}
	return value;
}

static struct address address(const char *kind, const char *host, const char *port)
{
	struct address a = { .family = AF_INET, .type = SOCK_STREAM };

	if (!strcmp(kind, "vsock") || !strcmp(kind, "seqpacket")) {
		if (strcmp(kind, "vsock"))
			a.type = SOCK_SEQPACKET;
		a.family = AF_VSOCK;
		a.len = sizeof(a.to.vm);
		a.to.vm.svm_family = AF_VSOCK;
		a.to.vm.svm_cid = number(host, UINT32_MAX);
		a.to.vm.svm_port = number(port, UINT32_MAX);
		return a;
	}
	if (strcmp(kind, "tcp"))
		a.type = SOCK_DGRAM;
	if (!strcmp(kind, "icmp"))
		a.protocol = IPPROTO_ICMP;
	a.len = sizeof(a.to.in);
	a.to.in.sin_family = AF_INET;
	a.to.in.sin_port = htons(number(port, 65535));
	if (!inet_aton(host, &a.to.in.sin_addr)) {
		fprintf(stderr, "load: not of the form 10.77.0.1: %s\n", host);
		exit(2);
	}
	return a;
}

static int dial(struct address *a)
{
	struct timeval patience = { .tv_sec = PATIENCE };
	int fd = socket(a->family, a->type, a->protocol);

	if (fd < 0)
		die("socket");
	if (connect(fd, &a->to.any, a->len))
		die("connect");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* When the kernel received what is read here. */
static uint64_t receive_stamped(int fd, size_t bytes)
{
	char control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec part = { .iov_base = buffer, .iov_len = ROOM };
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	struct timespec t;

	if (recvmsg(fd, &msg, 0) != (ssize_t)bytes)
		die("no whole answer");
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
			memcpy(&t, CMSG_DATA(c), sizeof(t));
			return t.tv_sec * 1000000000ull + t.tv_nsec;
		}
	}
	die("no time stamp");
	return 0;
}

static uint64_t round_trip(int fd, int icmp, int stream, size_t bytes)
{
	clockid_t clock = icmp ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	uint64_t begin = now(clock);
	ssize_t part;
	size_t got = 0;

	if (write(fd, buffer, bytes) != (ssize_t)bytes)
		die("write");
	if (icmp)
		return receive_stamped(fd, bytes) - begin;
	do {
		part = read(fd, buffer + got, bytes - got);
		if (part <= 0)
			die("no answer");
		got += part;
	} while (stream && got < bytes);
	return now(clock) - begin;
}

void said_trips(uint64_t *times, size_t count)
{
	qsort(times, count, sizeof(*times), compare);
	printf("rr %zu %ju %ju %ju %ju\n", WARM + count, (uintmax_t)times[0], (uintmax_t)times[count / 2],
	       (uintmax_t)times[count * 99 / 100], (uintmax_t)times[count - 1]);
}

static void trips(const char *kind, int fd, int stream, size_t bytes, size_t count)
{
	int icmp = !strcmp(kind, "icmp"), on = 1;
	uint64_t *times = calloc(count, sizeof(*times));
	size_t i;

	if (!times || !count || !bytes || (icmp && bytes < sizeof(struct icmphdr))) {
		fprintf(stderr, "load: nothing to send\n");
		exit(2);
	}
	if (icmp && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)))
		die("SO_TIMESTAMPNS");
	if (!strcmp(kind, "tcp"))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (i = 0; i < WARM + count; i++) {
		if (i == WARM)
			MARK(BEGIN);
		if (icmp) {
			struct icmphdr head = { .type = ICMP_ECHO, .un.echo.sequence = htons(i) };

			memcpy(buffer, &head, sizeof(head));
		}
		if (i < WARM)
			round_trip(fd, icmp, stream, bytes);
		else
			times[i - WARM] = round_trip(fd, icmp, stream, bytes);
	}
	MARK(END);
	said_trips(times, count);
}

static void to(struct address *a, size_t size, size_t bytes)
{
	int fd = dial(a);
	uint64_t begin = now(CLOCK_MONOTONIC);
	size_t left = bytes;

	MARK(BEGIN);
	while (left) {
		ssize_t part = write(fd, buffer, left < size ? left : size);

		if (part <= 0)
			die("write");
		left -= part;
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, buffer, 1))
		die("no end of the connection");
	MARK(END);
	printf("bulk %zu %ju\n", bytes, (uintmax_t)(now(CLOCK_MONOTONIC) - begin));
}

/* Has messages of that size come: until it is told, the service sends others. */
static void ask_for_size(int fd, size_t size)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%zu", size);

	if (write(fd, text, length) != length)
		die("write");
	for (;;) {
		ssize_t got = recv(fd, buffer, ROOM, 0);

		if (got <= 0)
			die("no messages");
		if ((size_t)got == size)
			return;
	}
}

static void from(struct address *a, size_t size, size_t bytes)
{
	int fd = dial(a);
	size_t left = bytes;
	uint64_t begin;

	if (a->type == SOCK_SEQPACKET)
		ask_for_size(fd, size);
	begin = now(CLOCK_MONOTONIC);
	MARK(BEGIN);
	while (left) {
		ssize_t part = read(fd, buffer, left < size ? left : size);

		if (part <= 0)
			die("read");
		left -= part;
	}
	MARK(END);
	printf("bulk %zu %ju\n", bytes, (uintmax_t)(now(CLOCK_MONOTONIC) - begin));
}

/* What is lost is taken for gone and not sent again. */
static void both(struct address *a, size_t size, size_t bytes)
{
	struct timeval patience = { .tv_usec = LOST_MS * 1000 };
	size_t most = AWAY_BYTES / size, count = bytes / size, sent = 0, got = 0, away = 0;
	int fd = dial(a);
	uint64_t begin, end;

	if (most > AWAY)
		most = AWAY;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	end = begin = now(CLOCK_MONOTONIC);
	MARK(BEGIN);
	while (sent < count || away) {
		for (; sent < count && away < most; sent++, away++)
			if (write(fd, buffer, size) != (ssize_t)size)
				die("write");
		if (read(fd, buffer, ROOM) == (ssize_t)size) {
			end = now(CLOCK_MONOTONIC);
			got++;
			away--;
		} else {
			away = 0;
		}
	}
	MARK(END);
	printf("bulk %zu %ju %zu\n", got * size, (uintmax_t)(end - begin), count - got);
}

static void file(const char *path, const char *command)
{
	int fd = open(path, command ? O_RDWR : O_RDONLY);
	ssize_t part;

	if (fd < 0)
		die(path);
	MARK(BEGIN);
	if (command && write(fd, command, strlen(command)) < 0)
		die(command);
	/* (The writing has moved the position.) */
	part = pread(fd, buffer, ROOM, 0);
	MARK(END);
	if (part < 0)
		die(path);
	fwrite(buffer, 1, part, stdout);
}

static void get(struct address *a)
{
	int fd = dial(a);
	ssize_t part;

	while ((part = read(fd, buffer, ROOM)) > 0)
		fwrite(buffer, 1, part, stdout);
	if (part)
		die("read");
}

/* The services: a thread a port, and one a connection. */

struct service {
	int fd;
	void *(*serve)(void *fd);
};

static void *echo(void *arg)
{
	int fd = (intptr_t)arg;
	char *data = malloc(ROOM);
	ssize_t len;

	while (data && (len = read(fd, data, ROOM)) > 0)
		if (write(fd, data, len) != len)
			break;
	free(data);
	close(fd);
	return NULL;
}

static void *discard(void *arg)
{
	int fd = (intptr_t)arg;
	char *data = malloc(ROOM);

	while (data && read(fd, data, ROOM) > 0)
		;
	free(data);
	close(fd);
	return NULL;
}

static void *chargen(void *arg)
{
	int fd = (intptr_t)arg;

	while (write(fd, buffer, ROOM) > 0)
		;
	close(fd);
	return NULL;
}

static void *datagrams(void *arg)
{
	int fd = (intptr_t)arg;
	struct sockaddr_in from;
	static char data[65536];

	for (;;) {
		socklen_t size = sizeof(from);
		ssize_t len = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

		if (len >= 0)
			sendto(fd, data, len, 0, (struct sockaddr *)&from, size);
	}
	return NULL;
}

static void start(void *(*serve)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, serve, arg))
		die("thread");
	pthread_detach(thread);
}

static void *listener(void *arg)
{
	struct service *s = arg;
	int on = 1, fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		start(s->serve, (void *)(intptr_t)fd);
	}
	die("accept");
	return NULL;
}

static int bound(struct address *a)
{
	int fd = socket(a->family, a->type, 0), on = 1;

	if (fd < 0)
		die("socket");
	if (a->family == AF_INET)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &a->to.any, a->len) || getsockname(fd, &a->to.any, &a->len))
		die("bind");
	return fd;
}

static void serve(char **arg)
{
	static void *(*const serves[])(void *) = { echo, discard, chargen };
	static struct service services[6];
	struct address a;
	int i, kinds = arg[4] ? 2 : 1;

	for (i = 0; i < 3 * kinds; i++) {
		a = i < 3 ? address("tcp", arg[0], arg[1 + i]) : address("vsock", arg[4], arg[1 + i - 3]);
		services[i].fd = bound(&a);
		services[i].serve = serves[i % 3];
		if (listen(services[i].fd, 8))
			die("listen");
		if (i < 3)
			printf("%d ", ntohs(a.to.in.sin_port));
		start(listener, &services[i]);
	}
	a = address("udp", arg[0], arg[1]);
	start(datagrams, (void *)(intptr_t)bound(&a));
	printf("%d\n", ntohs(a.to.in.sin_port));
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct address a;

	signal(SIGPIPE, SIG_IGN);
	if (argc >= 6 && !strcmp(argv[1], "serve")) {
		serve(argv + 2);
		return 0;
	}
	if (argc >= 3 && !strcmp(argv[1], "file")) {
		file(argv[2], argv[3]);
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "range")) {
		tell(number(argv[2], SIZE_MAX));
		MARK(RANGE_BEGIN);
		tell(number(argv[3], SIZE_MAX));
		MARK(RANGE_END);
		return 0;
	}
	if (argc == 7 && !strcmp(argv[1], "disk")) {
		load_disk(argv + 2);
		return 0;
	}
	if (argc == 7 && !strcmp(argv[1], "rr") && !strcmp(argv[2], "port")) {
		int fd = open(argv[3], O_RDWR);

		if (fd < 0)
			die(argv[3]);
		trips(argv[2], fd, 1, number(argv[5], ROOM), number(argv[6], 10000000));
		return 0;
	}
	if (argc < 5) {
		fprintf(stderr, "load: see load.c\n");
		return 2;
	}
	a = address(argv[2], argv[3], argv[4]);
	if (!strcmp(argv[1], "rr") && argc == 7)
		trips(argv[2], dial(&a), a.type == SOCK_STREAM, number(argv[5], ROOM), number(argv[6], 10000000));
	else if (!strcmp(argv[1], "to") && argc == 7)
		to(&a, number(argv[5], ROOM), number(argv[6], SIZE_MAX));
	else if (!strcmp(argv[1], "from") && argc == 7)
		from(&a, number(argv[5], ROOM), number(argv[6], SIZE_MAX));
	else if (!strcmp(argv[1], "both") && argc == 7)
		both(&a, number(argv[5], AWAY_BYTES), number(argv[6], SIZE_MAX));
	else if (!strcmp(argv[1], "get"))
		get(&a);
	else
		return 2;
	return 0;
}
