// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The log: into the trace buffer that remoteproc shows, and to a UART where there is one.

#![expect(unsafe_code, reason = "the trace buffer is shared with Linux")]

use crate::cell::Shared;
use crate::cpu::{symbol, Span};
use crate::probe;
use crate::time::Clock;
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Bytes of the trace buffer, as in start.S. Linux shows it up to the first NUL.
const TRACE: usize = 32768;
/// Bytes of it that are recent.
const RECENT: usize = 8192;
/// How often a full UART is looked at before a character is dropped.
const UART_TRIES: u32 = 100_000;
/// Where a PL011 says what it is, and the part of the answer that is its own.
const UART_ID: usize = 0xfe0;
const UART_PART: u32 = 0x11;

/// Bytes in the trace buffer.
static USED: Shared<usize> = Shared::new(0);
static UART: Shared<Option<usize>> = Shared::new(None);
static CLOCK: Shared<Option<Clock>> = Shared::new(None);

struct Console;

static CONSOLE: Console = Console;

/// A byte of the trace buffer.
fn trace_byte(at: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut::<u8>(symbol::trace_buffer().wrapping_add(at % TRACE))
}

fn put_trace(at: usize, byte: u8) {
    // SAFETY: Inside the trace buffer, which no reference of Rust's is ever made to.
    unsafe { trace_byte(at).write_volatile(byte) }
}

/// Adds to the trace. When it is full the older half goes, so that what Linux shows is always
/// text in its order.
fn trace(text: &str) {
    for byte in text.bytes().filter(|byte| *byte != 0) {
        if USED.get() >= TRACE - 1 {
            let keep = TRACE / 2;
            let from = USED.get() - keep;
            for at in 0..keep {
                // SAFETY: Inside the trace buffer.
                put_trace(at, unsafe { trace_byte(from + at).read_volatile() });
            }
            for at in keep..TRACE {
                put_trace(at, 0);
            }
            USED.set(keep);
        }
        put_trace(USED.get(), byte);
        USED.set(USED.get() + 1);
    }
}

fn uart(text: &str) {
    let Some(address) = UART.get() else {
        return;
    };
    let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
    let Some(registers) = NonNull::new(registers) else {
        return;
    };
    // SAFETY: `start_uart` has found the registers of a PL011 there, mapped as device memory; no
    // other value for them is alive, since this function does not call itself.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    for byte in text.bytes() {
        for byte in [b'\r', byte].iter().skip(usize::from(byte != b'\n')) {
            let free = (0..UART_TRIES).any(|_| !uart.is_tx_fifo_full());
            if free {
                uart.write_word(*byte);
            }
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        trace(text);
        uart(text);
        Ok(())
    }
}

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let micros = CLOCK.get().map_or(0, |clock| clock.micros());
        let sign = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        // The console cannot fail.
        let _ = writeln!(
            Console,
            "[{:5}.{:06}] {sign}{}",
            micros / 1_000_000,
            micros % 1_000_000,
            record.args()
        );
    }

    fn flush(&self) {}
}

/// Clears what an earlier run has left in the trace and starts to log.
pub(crate) fn start(clock: Clock) {
    for at in 0..TRACE {
        put_trace(at, 0);
    }
    CLOCK.set(Some(clock));
    // Fails only if there is a logger already.
    let _ = log::set_logger(&CONSOLE);
    log::set_max_level(LevelFilter::Info);
}

/// The registers of a UART.
pub(crate) fn uart_span(address: u64) -> Span {
    let start = address as usize;
    start..start.wrapping_add(4096)
}

/// Logs to the UART at `address` as well, if there is one; it is mapped already.
pub(crate) fn start_uart(address: u64) {
    let address = address as usize;
    match probe::read32(address.wrapping_add(UART_ID)) {
        Some(part) if part & 0xff == UART_PART => {
            let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
            let Some(registers) = NonNull::new(registers) else {
                return;
            };
            // SAFETY: The registers have just answered as those of a PL011; no other value for
            // them is alive.
            let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
            let line = arm_pl011_uart::LineConfig {
                data_bits: arm_pl011_uart::DataBits::Bits8,
                parity: arm_pl011_uart::Parity::None,
                stop_bits: arm_pl011_uart::StopBits::One,
            };
            if uart.enable(line, 115_200, 24_000_000).is_ok() {
                UART.set(Some(address));
            }
        }
        _ => log::info!("uart: none at {address:#x}"),
    }
}

/// Writes the last lines of the trace.
pub(crate) fn recent(to: &mut dyn Write) -> fmt::Result {
    let mut from = USED.get().saturating_sub(RECENT);
    // SAFETY: Inside the trace buffer.
    let byte = |at| unsafe { trace_byte(at).read_volatile() };
    if from != 0 {
        // Not the end of a line.
        while from < USED.get() && byte(from - 1) != b'\n' {
            from += 1;
        }
    }
    for at in from..USED.get() {
        let byte = byte(at);
        to.write_char(if byte.is_ascii() {
            char::from(byte)
        } else {
            '?'
        })?;
    }
    Ok(())
}

/// A way to write lines when everything else may have failed.
pub(crate) fn emergency() -> impl Write {
    Console
}
