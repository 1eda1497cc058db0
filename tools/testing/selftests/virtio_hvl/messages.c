// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets that carry messages (SOCK_SEQPACKET), with the peer's services.
 *
 *   messages echo [-b BUFFER] [-l LARGEST] [-s SEED] [-w AHEAD] COUNT
 *   messages discard [-b BUFFER] [-l LARGEST] [-s SEED] COUNT
 *   messages chargen [-b BUFFER] SIZE COUNT
 *   messages listen PORT [-b BUFFER] [-l LARGEST] [-s SEED] COUNT
 *   messages toolarge BUFFER
 *   messages mismatch
 *   messages hold KIND...
 *   messages lied KIND ROUNDS
 *
 * echo: COUNT messages of random sizes, some of which end a record, have to come back as they were;
 * up to AHEAD are under way. discard: the same, one way; prints bytes, CRC and messages. chargen: COUNT
 * messages of SIZE bytes with the pattern of RFC 864. listen: as echo, with the peer connecting to
 * PORT. toolarge: what does not fit is EMSGSIZE here, and a reset where the peer makes it. mismatch:
 * bytes and messages do not mix. hold: sockets (stream, message) that are read from until they end; prints
 * "held" when they are open, and at the end why each has ended. lied: ROUNDS connections to a peer that lies about them; each call
 * has to come to an end, whatever it is. The status is 0 if all is right.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PEER_CID 2
#define ECHO 7
#define DISCARD 9
#define CHARGEN 19
#define LINE 74
#define MOST (1 << 18)
/* Only a hang takes as long. */
#define PATIENCE 60

static uint64_t buffer;
static uint32_t largest = 3000;
static uint32_t seed = 1;
static unsigned int ahead = 1;

static unsigned char out[MOST], in[MOST + 1];

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static unsigned int patience_ms = PATIENCE * 1000;

static void limit_time(int fd)
{
	struct timeval patience = {
		.tv_sec = patience_ms / 1000,
		.tv_usec = patience_ms % 1000 * 1000,
	};

	if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)))
		die("timeout");
}

static int new_socket(int type)
{
	uint64_t least = 1, most = 1 << 24;
	int fd = socket(AF_VSOCK, type, 0);

	if (fd < 0)
		die("socket");
	limit_time(fd);
	if (buffer &&
	    (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MIN_SIZE, &least, sizeof(least)) ||
	     setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &most, sizeof(most)) ||
	     setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &buffer, sizeof(buffer))))
		die("buffer size");
	return fd;
}

static int try_dial(int type, unsigned int port)
{
	struct sockaddr_vm peer = {
		.svm_family = AF_VSOCK,
		.svm_cid = PEER_CID,
		.svm_port = port,
	};
	int fd = new_socket(type), err;

	if (!connect(fd, (struct sockaddr *)&peer, sizeof(peer)))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static int dial(int type, unsigned int port)
{
	int fd = try_dial(type, port);

	if (fd < 0)
		die("connect");
	return fd;
}

/* Message NUMBER: its bytes, and whether it ends a record. Never without bytes: Linux sends no such. */
static size_t make(unsigned int number, unsigned char *bytes, int *flags)
{
	uint32_t state = seed ^ (number * 2654435761u);
	uint32_t len, i;

	/* Small ones, and some of any size. */
	len = next_random(&state) % 4 ? 1 + next_random(&state) % 300 : 1 + next_random(&state) % largest;
	if (len > largest)
		len = largest;
	for (i = 0; i < len; i++)
		bytes[i] = next_random(&state);
	*flags = next_random(&state) % 3 ? 0 : MSG_EOR;
	return len;
}

static void put(int fd, unsigned int number)
{
	int flags;
	size_t len = make(number, out, &flags);
	ssize_t sent = send(fd, out, len, flags | MSG_NOSIGNAL);

	if (sent < 0)
		die("send");
	if ((size_t)sent != len) {
		fprintf(stderr, "message %u: %zd of %zu bytes are sent\n", number, sent, len);
		exit(1);
	}
}

static ssize_t get(int fd, int *flags)
{
	struct iovec vec = { .iov_base = in, .iov_len = sizeof(in) };
	struct msghdr msg = { .msg_iov = &vec, .msg_iovlen = 1 };
	ssize_t len = recvmsg(fd, &msg, 0);

	*flags = msg.msg_flags;
	return len;
}

static void expect(int fd, unsigned int number)
{
	int flags, got_flags;
	size_t len = make(number, out, &flags);
	ssize_t got = get(fd, &got_flags);

	if (got < 0)
		die("recvmsg");
	if ((size_t)got != len || memcmp(in, out, len) || (got_flags & MSG_EOR) != flags ||
	    got_flags & MSG_TRUNC) {
		fprintf(stderr, "message %u: %zu bytes, flags %#x, came as %zd bytes, flags %#x\n",
			number, len, flags, got, got_flags);
		exit(1);
	}
}

static void close_in_order(int fd)
{
	int flags;
	ssize_t got;

	if (shutdown(fd, SHUT_WR))
		die("shutdown");
	got = get(fd, &flags);
	if (got) {
		fprintf(stderr, "%zd bytes in place of the end\n", got);
		exit(1);
	}
	close(fd);
}

static int echo(int fd, unsigned int count)
{
	unsigned int sent, got = 0;

	for (sent = 0; sent < count; sent++) {
		put(fd, sent);
		if (sent + 1 - got >= ahead)
			expect(fd, got++);
	}
	while (got < count)
		expect(fd, got++);
	close_in_order(fd);
	return 0;
}

static uint32_t crc32(uint32_t crc, const unsigned char *bytes, size_t len)
{
	int bit;

	for (crc = ~crc; len; len--) {
		crc ^= *bytes++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

static int discard(unsigned int count)
{
	int fd = dial(SOCK_SEQPACKET, DISCARD), flags;
	unsigned long long bytes = 0;
	uint32_t crc = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		size_t len = make(i, out, &flags);

		put(fd, i);
		crc = crc32(crc, out, len);
		bytes += len;
	}
	close_in_order(fd);
	printf("received %llu crc32 %08x messages %u\n", bytes, crc, count);
	return 0;
}

static int chargen(size_t size, unsigned int count)
{
	int fd = dial(SOCK_SEQPACKET, CHARGEN), flags;
	unsigned long long at = 0;
	char text[16];
	unsigned int seen = 0;
	int before = 1;
	ssize_t got, i;

	snprintf(text, sizeof(text), "%zu", size);
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		die("send");
	while (seen < count) {
		got = get(fd, &flags);
		if (got < 0)
			die("recvmsg");
		for (i = 0; i < got; i++, at++) {
			unsigned long long line = at / LINE, column = at % LINE;
			int want = column == LINE - 2 ? '\r' : column == LINE - 1 ? '\n' :
				   ' ' + (line % 95 + column) % 95;

			if (in[i] != want) {
				fprintf(stderr, "byte %llu is %#x, not %#x\n", at, in[i], want);
				return 1;
			}
		}
		/* Lines, as long as it has not heard of the size. */
		before &= got == LINE && (size_t)got != size;
		if (before)
			continue;
		if ((size_t)got != size || flags & MSG_EOR) {
			fprintf(stderr, "message %u of %zd bytes, not %zu\n", seen, got, size);
			return 1;
		}
		seen++;
	}
	close(fd);
	return 0;
}

static int listen_for(unsigned int port, unsigned int count)
{
	struct sockaddr_vm own = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	int listener = new_socket(SOCK_SEQPACKET), ask, fd, flags;
	char text[32];
	ssize_t got;

	if (bind(listener, (struct sockaddr *)&own, sizeof(own)) || listen(listener, 1))
		die("listen");
	ask = dial(SOCK_SEQPACKET, 20);
	snprintf(text, sizeof(text), "connect %u", port);
	if (send(ask, text, strlen(text), MSG_NOSIGNAL) < 0)
		die("send");
	got = get(ask, &flags);
	if (got != 10 || memcmp(in, "connecting", 10)) {
		fprintf(stderr, "the peer answers %.*s\n", (int)(got < 0 ? 0 : got), in);
		return 1;
	}
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	limit_time(fd);
	close(ask);
	return echo(fd, count);
}

static int too_large(size_t size)
{
	int fd, flags;
	char text[16];
	ssize_t got;

	buffer = size;
	fd = dial(SOCK_SEQPACKET, ECHO);
	if (send(fd, out, size + 1, MSG_NOSIGNAL) >= 0 || errno != EMSGSIZE)
		die("a message larger than the buffer");
	if (send(fd, out, size, MSG_NOSIGNAL) != (ssize_t)size || get(fd, &flags) != (ssize_t)size)
		die("a message as large as the buffer");
	close(fd);
	/* What the peer makes is another matter: it ends, and nobody waits. */
	fd = dial(SOCK_SEQPACKET, CHARGEN);
	snprintf(text, sizeof(text), "%zu", size + 1);
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		die("send");
	do {
		got = get(fd, &flags);
	} while (got == LINE);
	if (got > 0 || (got < 0 && errno == EAGAIN)) {
		fprintf(stderr, "%zd\n", got);
		die("what has no room is not reset");
	}
	close(fd);
	return 0;
}

static void refused(unsigned int port)
{
	int fd = try_dial(SOCK_SEQPACKET, port);

	if (fd >= 0 || errno != ECONNRESET)
		die("somebody answers");
}

static int mismatch(void)
{
	/* A service of bytes only, and none. */
	refused(21);
	refused(4000);
	return 0;
}

static int hold(char **kinds, int count)
{
	struct pollfd polls[16];
	int i, open = count, err;
	socklen_t len = sizeof(err);

	if (count > 16)
		return 2;
	for (i = 0; i < count; i++) {
		polls[i].fd = dial(strcmp(kinds[i], "stream") ? SOCK_SEQPACKET : SOCK_STREAM, ECHO);
		polls[i].events = POLLIN;
	}
	puts("held");
	fflush(stdout);
	while (open) {
		if (poll(polls, count, PATIENCE * 1000) <= 0) {
			fprintf(stderr, "nothing happens\n");
			return 1;
		}
		for (i = 0; i < count; i++) {
			ssize_t got;

			if (polls[i].fd < 0 || !polls[i].revents)
				continue;
			got = recv(polls[i].fd, in, sizeof(in), MSG_DONTWAIT);
			if (got > 0 || (got < 0 && errno == EAGAIN))
				continue;
			err = got ? errno : 0;
			/* That it is not connected any more says less than why. */
			if (!got || err == ENOTCONN)
				getsockopt(polls[i].fd, SOL_SOCKET, SO_ERROR, &err, &len);
			printf("%s: %s\n", kinds[i], err ? strerror(err) : "end");
			/* Nothing more goes either. */
			if (send(polls[i].fd, "x", 1, MSG_NOSIGNAL) > 0)
				return 1;
			close(polls[i].fd);
			polls[i].fd = -1;
			open--;
		}
	}
	return 0;
}

static int lied(int type, unsigned int rounds)
{
	unsigned int dials = 0, sends = 0, gets = 0, round, i;
	int flags;

	/* Whoever waits for longer than it has asked for is ended, and has failed. */
	alarm(PATIENCE * 3);
	patience_ms = 300;
	for (round = 0; round < rounds; round++) {
		int fd = try_dial(type, ECHO);

		if (fd < 0)
			continue;
		dials++;
		for (i = 0; i < 3; i++) {
			sends += send(fd, out, 100 + 1000 * i, MSG_NOSIGNAL) > 0;
			gets += get(fd, &flags) > 0;
		}
		if (round % 2)
			shutdown(fd, SHUT_RDWR);
		close(fd);
	}
	printf("%u connections, %u sent, %u got\n", dials, sends, gets);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what;
	unsigned int words;
	int opt;

	while ((opt = getopt(argc, argv, "b:l:s:w:")) != -1) {
		switch (opt) {
		case 'b':
			buffer = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			largest = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			ahead = strtoul(optarg, NULL, 0);
			break;
		default:
			goto usage;
		}
	}
	/* The words have been moved behind the options. */
	what = optind < argc ? argv[optind] : "";
	argv += optind + 1;
	words = argc > optind ? argc - optind - 1 : 0;
	if (!largest || largest > MOST)
		goto usage;
	if (!strcmp(what, "echo") && words == 1)
		return echo(dial(SOCK_SEQPACKET, ECHO), strtoul(argv[0], NULL, 0));
	if (!strcmp(what, "discard") && words == 1)
		return discard(strtoul(argv[0], NULL, 0));
	if (!strcmp(what, "chargen") && words == 2)
		return chargen(strtoul(argv[0], NULL, 0), strtoul(argv[1], NULL, 0));
	if (!strcmp(what, "listen") && words == 2)
		return listen_for(strtoul(argv[0], NULL, 0), strtoul(argv[1], NULL, 0));
	if (!strcmp(what, "toolarge") && words == 1)
		return too_large(strtoul(argv[0], NULL, 0));
	if (!strcmp(what, "mismatch") && !words)
		return mismatch();
	if (!strcmp(what, "hold") && words)
		return hold(argv, words);
	if (!strcmp(what, "lied") && words == 2)
		return lied(strcmp(argv[0], "stream") ? SOCK_SEQPACKET : SOCK_STREAM, strtoul(argv[1], NULL, 0));
usage:
	fprintf(stderr, "usage: messages echo|discard|chargen|listen|toolarge|mismatch|hold|lied ...: see messages.c\n");
	return 2;
}
