// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * testfw: the smallest firmware that psci_rproc starts and stops, with the
 * deviations that the selftests need. It runs with the MMU off, says what it
 * does in its trace buffer, and polls its stop request.
 *
 * Deviations, chosen when it is built (see Makefile):
 *   IGNORE_STOP=n  does as if it had not seen the first n requests, 0: any
 *   WAIT_BELL      stops only when the word at `bell` holds BELL_VALUE as well
 *   CRASH_MS=n     takes an exception n milliseconds after its start
 *   END_MS=n       calls CPU_OFF n milliseconds after the first request
 *   OFF_AT_ONCE    calls CPU_OFF before anything else
 *   NO_TABLE       has no resource table
 *   NO_STOP        has a resource table without the stop request
 *   STOP_VERSION=n another version of the stop request
 *   KIND=n         has a resource of type n where the trace buffer was
 *   TRACE_LEN=n    has a resource table that gives the trace buffer n bytes
 *   BIG_BSS        does not fit into 24 MiB
 */
typedef unsigned int u32;
typedef unsigned long u64;

#ifndef STOP_VERSION
#define STOP_VERSION 1
#endif

#define BELL_VALUE 0x40

#define PSCI_CPU_OFF 0x84000002UL

#define TRACE_SIZE 4096

#ifndef TRACE_LEN
#define TRACE_LEN TRACE_SIZE
#endif

#ifndef KIND
#define KIND 2
#endif

static char trace[TRACE_SIZE] __attribute__((used, aligned(64), section(".trace")));
static u32 trace_at;

/* Where a test lets the doorbell point: at a fixed place, see testfw.lds. */
static volatile u32 bell __attribute__((used, section(".bell")));

#ifdef BIG_BSS
static char big[24 << 20] __attribute__((used));
#endif

#ifndef NO_TABLE
static volatile struct {
	u32 ver;
	u32 num;
	u32 reserved[2];
	u32 offset[2];
	struct {
		u32 type;
		u32 da;
		u32 len;
		u32 reserved;
		char name[32];
	} trace;
	struct {
		u32 type;
		u32 version;
		u32 stop_request;
		u32 reserved[2];
	} stop;
} table __attribute__((used, aligned(64), section(".resource_table"))) = {
	.ver = 1,
#ifdef NO_STOP
	.num = 1,
#else
	.num = 2,
#endif
	.offset = { 24, 72 },
	.trace = { .type = KIND, .da = TRACE_DA, .len = TRACE_LEN, .name = "trace0" },
	.stop = { .type = 128, .version = STOP_VERSION },
};
_Static_assert(__builtin_offsetof(__typeof__(table), trace) == 24, "table.offset[0]");
_Static_assert(__builtin_offsetof(__typeof__(table), stop) == 72, "table.offset[1]");
#endif

static void say(const char *text)
{
	while (*text && trace_at < TRACE_SIZE - 1)
		*(volatile char *)&trace[trace_at++] = *text++;
}

static void say_hex(u64 value)
{
	char text[19] = "0x0000000000000000";

	for (int i = 17; i > 1; i--, value >>= 4)
		text[i] = "0123456789abcdef"[value & 15];
	say(text);
}

static u64 current_el(void)
{
	u64 el;

	asm volatile("mrs %0, CurrentEL" : "=r"(el));
	return (el >> 2) & 3;
}

static void cpu_off(void)
{
	register u64 x0 asm("x0") = PSCI_CPU_OFF;

	/* Under a hypervisor, or QEMU in its place, PSCI is behind HVC; at EL2 the firmware is below. */
	asm volatile("dsb sy" ::: "memory");
	if (current_el() == 2)
		asm volatile("smc #0" : "+r"(x0) :: "x1", "x2", "x3", "memory");
	else
		asm volatile("hvc #0" : "+r"(x0) :: "x1", "x2", "x3", "memory");
	for (;;)
		asm volatile("wfi");
}

void exception(u64 esr, u64 elr)
{
	say("testfw: exception, ESR ");
	say_hex(esr);
	say(" ELR ");
	say_hex(elr);
	say("\n");
	cpu_off();
}

static u64 milliseconds(void)
{
	u64 count, hz;

	asm volatile("isb; mrs %0, cntpct_el0; mrs %1, cntfrq_el0" : "=r"(count), "=r"(hz));
	return count / (hz / 1000);
}

/* When the first request was seen, 0: there was none. */
static u64 asked __attribute__((unused));

static int stop_requested(void)
{
#if defined(NO_TABLE) || defined(NO_STOP)
	return 0;
#else
	if (!table.stop.stop_request)
		return 0;
	if (!asked)
		asked = milliseconds();
#ifdef IGNORE_STOP
	static u32 ignored;

	if (!IGNORE_STOP || ignored < IGNORE_STOP) {
		table.stop.stop_request = 0;
		ignored++;
		say("testfw: stop ignored\n");
		return 0;
	}
#endif
#ifdef WAIT_BELL
	if (bell != BELL_VALUE)
		return 0;
#endif
	return 1;
#endif
}

void firmware_main(u64 context)
{
	u64 start = milliseconds();

#ifdef OFF_AT_ONCE
	cpu_off();
#endif
	say("testfw: hello from EL");
	say(current_el() == 2 ? "2" : "1");
	say(", context ");
	say_hex(context);
	say("\n");
	while (!stop_requested()) {
#ifdef CRASH_MS
		if (milliseconds() - start >= CRASH_MS)
			asm volatile("udf #42");
#endif
#ifdef END_MS
		if (asked && milliseconds() - asked >= END_MS)
			cpu_off();
#endif
		asm volatile("yield");
	}
	(void)start;
	say("testfw: stop\n");
	cpu_off();
}
