// SPDX-License-Identifier: GPL-2.0
/*
 * Many connections to the peer at a time.
 *
 *   connections vsock|seqpacket|tcp PORT churn CLIENTS ROUNDS HOW...
 *   connections vsock|seqpacket|tcp PORT full LIMIT ROUNDS
 *
 * churn: CLIENTS threads, each of which opens and closes a connection ROUNDS times, in the ways
 * HOW in turn (with "mixed" before them, every other one carries bytes where the rest carries messages).
 * full: LIMIT connections stay open; one more has to be refused, and to be let in as
 * soon as another was closed. The status is 0 if that is so.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PEER_CID 2
#define PEER_IP 0x0a4d0001
#define MOST 256

static int family;
static int socket_type = SOCK_STREAM;
static int mixed;
static unsigned int port;
static int rounds;
static int hows;
static char **how;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int failures;

static void fail(const char *what, int client, int round)
{
	int err = errno;

	pthread_mutex_lock(&lock);
	if (failures++ < 5)
		fprintf(stderr, "client %d, round %d: %s: %s\n", client, round, what, strerror(err));
	pthread_mutex_unlock(&lock);
}

/* A new connection: its socket, or -1 with errno. */
static int dial(int type, int flags)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = PEER_CID,
		.svm_port = port,
	};
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(PEER_IP),
		.sin_port = htons(port),
	};
	/*
	 * Of a machine with much to do; two seconds otherwise. Not for who does not wait:
	 * Linux keeps such a socket, and its transport's module with it, until this is over.
	 */
	struct timeval patience = { .tv_sec = 100 };
	int fd = socket(family, type | flags, 0);
	int err;

	if (fd < 0)
		return -1;
	if (family == AF_VSOCK && !(flags & SOCK_NONBLOCK))
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience));
	if (family == AF_VSOCK)
		err = connect(fd, (struct sockaddr *)&vm, sizeof(vm));
	else
		err = connect(fd, (struct sockaddr *)&in, sizeof(in));
	if (err && errno != EINPROGRESS) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

static int put(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

		if (sent < 0)
			return -1;
		data += sent;
		len -= sent;
	}
	return 0;
}

/* Takes exactly `len` bytes. */
static int get(int fd, char *data, size_t len)
{
	while (len) {
		ssize_t got = recv(fd, data, len, 0);

		if (got <= 0) {
			if (!got)
				errno = EPIPE;
			return -1;
		}
		data += got;
		len -= got;
	}
	return 0;
}

/* Takes all until the end. */
static int drain(int fd)
{
	char data[4096];
	ssize_t got;

	do {
		got = recv(fd, data, sizeof(data), 0);
	} while (got > 0);
	return got;
}

static int echo(int fd, size_t len, int client)
{
	char sent[2048], got[2048];

	memset(sent, client, sizeof(sent));
	if (put(fd, sent, len) || get(fd, got, len))
		return -1;
	if (!memcmp(sent, got, len))
		return 0;
	errno = EBADMSG;
	return -1;
}

/* What a client does on its connection before it closes it. */
static int talk(int fd, const char *what, int client, int round)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	static const char bulk[60000];
	char some[100];
	size_t len = 1 + (round * 37 + client) % 2048;

	if (!strcmp(what, "echo"))
		return echo(fd, len, client);
	if (!strcmp(what, "half"))
		return put(fd, bulk, len) || shutdown(fd, SHUT_WR) || drain(fd) ? -1 : 0;
	if (!strcmp(what, "both"))
		return echo(fd, len, client) || shutdown(fd, SHUT_RDWR) ? -1 : 0;
	/* Closed with much on the way there. */
	if (!strcmp(what, "bulk"))
		return put(fd, bulk, sizeof(bulk));
	/* Closed with much on the way here. */
	if (!strcmp(what, "unread"))
		return get(fd, some, sizeof(some));
	if (!strcmp(what, "http"))
		return put(fd, request, sizeof(request) - 1) || drain(fd) ? -1 : 0;
	if (!strcmp(what, "silent"))
		return 0;
	errno = EINVAL;
	return -1;
}

static void *run(void *arg)
{
	int client = (int)(long)arg;
	int round;

	for (round = 0; round < rounds; round++) {
		const char *what = how[(client + round) % hows];
		int hasty = !strcmp(what, "hasty");
		int own = mixed && (client + round) % 2 ? SOCK_STREAM : socket_type;
		int fd = dial(own, hasty ? SOCK_NONBLOCK : 0);

		if (fd < 0) {
			fail("connect", client, round);
			continue;
		}
		/* Closed before there is an answer. */
		if (!hasty && talk(fd, what, client, round))
			fail(what, client, round);
		close(fd);
	}
	return NULL;
}

static int churn(int clients)
{
	pthread_t threads[MOST];
	int i;

	for (i = 0; i < clients; i++) {
		if (pthread_create(&threads[i], NULL, run, (void *)(long)i)) {
			perror("pthread_create");
			return 1;
		}
	}
	for (i = 0; i < clients; i++)
		pthread_join(threads[i], NULL);
	if (failures)
		fprintf(stderr, "%d of %d failed\n", failures, clients * rounds);
	return !!failures;
}

static int full(int limit)
{
	int refusal = family == AF_VSOCK ? ECONNRESET : ECONNREFUSED;
	int fds[MOST], i, round;

	for (i = 0; i < limit; i++) {
		fds[i] = dial(socket_type, 0);
		if (fds[i] < 0) {
			fail("connect", i, 0);
			return 1;
		}
	}
	for (round = 0; round < rounds; round++) {
		int fd = dial(socket_type, 0);

		if (fd >= 0 || errno != refusal) {
			if (fd >= 0)
				errno = 0;
			fail("one too many is not refused", limit, round);
			return 1;
		}
		i = round % limit;
		if (round % 3 && echo(fds[i], 1 + round % 100, i)) {
			fail("echo", i, round);
			return 1;
		}
		close(fds[i]);
		fds[i] = dial(socket_type, 0);
		if (fds[i] < 0) {
			fail("connect in place of another", i, round);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	int count;

	if (argc < 6)
		goto usage;
	family = strcmp(argv[1], "tcp") ? AF_VSOCK : AF_INET;
	if (!strcmp(argv[1], "seqpacket"))
		socket_type = SOCK_SEQPACKET;
	port = atoi(argv[2]);
	count = atoi(argv[4]);
	rounds = atoi(argv[5]);
	hows = argc - 6;
	how = argv + 6;
	mixed = hows && !strcmp(how[0], "mixed");
	how += mixed;
	hows -= mixed;
	if (count < 1 || count > MOST)
		goto usage;
	if (!strcmp(argv[3], "churn") && hows)
		return churn(count);
	if (!strcmp(argv[3], "full") && !hows)
		return full(count);
usage:
	fprintf(stderr, "usage: connections vsock|seqpacket|tcp PORT churn CLIENTS ROUNDS [mixed] HOW... | full LIMIT ROUNDS\n");
	return 2;
}
