// SPDX-License-Identifier: GPL-2.0
/*
 * The load of a disk: requests past the caches, one at a time or several.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/aio_abi.h>

#include "load.h"

/* Requests at a time, at most, and how they have to lie in memory. */
#define DEPTH_MAX 64
#define PAGE 4096

/* A disk, and memory for each of the requests that are under way. */
struct disk {
	int fd, write;
	size_t size;
	off_t end;
	char *memory;
};

static off_t place(struct disk *d, size_t number)
{
	return number % (d->end / d->size) * d->size;
}

static void one_by_one(struct disk *d, size_t count)
{
	uint64_t *times = calloc(count, sizeof(*times));
	size_t i;

	if (!times)
		die("memory");
	for (i = 0; i < WARM + count; i++) {
		uint64_t begin;
		ssize_t done;

		if (i == WARM)
			MARK(BEGIN);
		begin = now(CLOCK_MONOTONIC);
		done = d->write ? pwrite(d->fd, d->memory, d->size, place(d, i)) :
				  pread(d->fd, d->memory, d->size, place(d, i));
		if (done != (ssize_t)d->size)
			die("no whole block");
		if (i >= WARM)
			times[i - WARM] = now(CLOCK_MONOTONIC) - begin;
	}
	MARK(END);
	said_trips(times, count);
}

static void submit(struct disk *d, aio_context_t queue, size_t slot, size_t number)
{
	static struct iocb requests[DEPTH_MAX];
	struct iocb *request = &requests[slot];

	memset(request, 0, sizeof(*request));
	request->aio_data = slot;
	request->aio_lio_opcode = d->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	request->aio_fildes = d->fd;
	request->aio_buf = (uintptr_t)(d->memory + slot * d->size);
	request->aio_nbytes = d->size;
	request->aio_offset = place(d, number);
	if (syscall(SYS_io_submit, queue, 1, &request) != 1)
		die("io_submit");
}

static void several(struct disk *d, size_t depth, size_t count)
{
	struct io_event events[DEPTH_MAX];
	aio_context_t queue = 0;
	size_t sent, done = 0;
	uint64_t begin;

	if (syscall(SYS_io_setup, depth, &queue))
		die("io_setup");
	begin = now(CLOCK_MONOTONIC);
	MARK(BEGIN);
	for (sent = 0; sent < depth && sent < count; sent++)
		submit(d, queue, sent, sent);
	while (done < count) {
		long got = syscall(SYS_io_getevents, queue, 1, depth, events, NULL), i;

		if (got <= 0)
			die("io_getevents");
		for (i = 0; i < got; i++, done++) {
			if (events[i].res != (int64_t)d->size)
				die("no whole block");
			if (sent < count)
				submit(d, queue, events[i].data, sent++);
		}
	}
	MARK(END);
	printf("bulk %zu %ju\n", count * d->size, (uintmax_t)(now(CLOCK_MONOTONIC) - begin));
}

void load_disk(char **arg)
{
	size_t depth = number(arg[3], DEPTH_MAX), count = number(arg[4], 10000000);
	struct disk d = { .write = !strcmp(arg[0], "write"), .size = number(arg[2], ROOM) };

	d.fd = open(arg[1], (d.write ? O_WRONLY : O_RDONLY) | O_DIRECT);
	if (d.fd < 0)
		die(arg[1]);
	d.end = lseek(d.fd, 0, SEEK_END);
	if (!d.size || d.end < (off_t)d.size || !depth || !count) {
		fprintf(stderr, "load: nothing to do with %s\n", arg[1]);
		exit(2);
	}
	d.memory = aligned_alloc(PAGE, (depth * d.size + PAGE - 1) / PAGE * PAGE);
	if (!d.memory)
		die("memory");
	memset(d.memory, 'x', depth * d.size);
	if (depth == 1)
		one_by_one(&d, count);
	else
		several(&d, depth, count);
}
