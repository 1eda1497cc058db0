// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The final page tables: code cannot be written, data cannot be executed, and only what this
//! program has to do with is mapped at all.

#![expect(unsafe_code, reason = "page tables are raw memory to the processor")]

use crate::cell::Once;
use crate::cpu::{symbol, Span};
use aarch64_paging::descriptor::{El1Attributes as Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, Translation, VaRange};
use aarch64_paging::{MapError, Mapping};
use core::arch::asm;
use core::ptr::NonNull;

type PageTable = aarch64_paging::paging::PageTable<Attributes>;

/// Enough for the image, the region and four devices.
const TABLES: usize = 40;

static POOL: Once<[PageTable; TABLES]> = Once::new([PageTable::EMPTY; TABLES]);

/// Address space number; the tables of the first steps have 0.
const ASID: usize = 1;
/// 39 bits of address.
const ROOT_LEVEL: usize = 1;

const COMMON: Attributes = Attributes::VALID
    .union(Attributes::ACCESSED)
    .union(Attributes::NON_GLOBAL)
    .union(Attributes::UXN);
const NEVER_EXECUTED: Attributes = COMMON.union(Attributes::PXN);

/// Memory, cached, coherent with the other cores. Attribute indices as in start.S.
const CACHED: Attributes = Attributes::ATTRIBUTE_INDEX_0.union(Attributes::INNER_SHAREABLE);
const DEVICE: Attributes = Attributes::ATTRIBUTE_INDEX_1.union(Attributes::OUTER_SHAREABLE);
const UNCACHED: Attributes = Attributes::ATTRIBUTE_INDEX_2.union(Attributes::OUTER_SHAREABLE);

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Code,
    Constants,
    Data,
    /// Memory that somebody reads or writes past the caches.
    Uncached,
    Device,
}

impl Use {
    const fn attributes(self) -> Attributes {
        match self {
            Self::Code => COMMON.union(CACHED).union(Attributes::READ_ONLY),
            Self::Constants => NEVER_EXECUTED.union(CACHED).union(Attributes::READ_ONLY),
            Self::Data => NEVER_EXECUTED.union(CACHED),
            Self::Uncached => NEVER_EXECUTED.union(UNCACHED),
            Self::Device => NEVER_EXECUTED.union(DEVICE),
        }
    }
}

/// Hands out tables from a fixed pool; addresses are what they are physically.
struct Identity {
    free: core::slice::IterMut<'static, PageTable>,
}

impl Translation<Attributes> for Identity {
    fn allocate_table(&mut self) -> (NonNull<PageTable>, PhysicalAddress) {
        match self.free.next() {
            Some(table) => {
                let table = NonNull::from(table);
                (table, PhysicalAddress(table.as_ptr().expose_provenance()))
            }
            #[expect(clippy::panic, reason = "at boot, by a command line without sense")]
            None => panic!("no page table left: the command line names too many places"),
        }
    }

    unsafe fn deallocate_table(&mut self, _table: NonNull<PageTable>) {}

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable> {
        // Tables come from `allocate_table`, so this is not null.
        NonNull::new(core::ptr::with_exposed_provenance_mut(pa.0)).unwrap_or(NonNull::dangling())
    }
}

/// The page tables, before and after they are in use.
pub(crate) struct PageTables(Mapping<Identity, El1And0>);

impl PageTables {
    /// Tables that map the image; `None` the second time.
    pub(crate) fn new() -> Option<Self> {
        let pool = POOL.take()?;
        let translation = Identity {
            free: pool.iter_mut(),
        };
        let mapping =
            Mapping::with_asid_and_va_range(translation, ASID, ROOT_LEVEL, El1And0, VaRange::Lower);
        let mut tables = Self(mapping);
        let image = [
            (symbol::text_begin()..symbol::text_end(), Use::Code),
            (symbol::rodata_begin()..symbol::rodata_end(), Use::Constants),
            (symbol::data_begin()..symbol::boot_stack_guard(), Use::Data),
            (
                symbol::boot_stack_begin()..symbol::boot_stack_end(),
                Use::Data,
            ),
            (
                symbol::exception_stack_begin()..symbol::exception_stack_end(),
                Use::Data,
            ),
            (
                symbol::uncached_begin()..symbol::uncached_end(),
                Use::Uncached,
            ),
        ];
        for (span, what) in image {
            tables.map(span, what).ok()?;
        }
        Some(tables)
    }

    /// Maps `span` to itself.
    ///
    /// # Errors
    ///
    /// [`MapError`] for addresses beyond 39 bits.
    pub(crate) fn map(&mut self, span: Span, what: Use) -> Result<(), MapError> {
        let range = MemoryRegion::new(span.start, span.end);
        let pa = PhysicalAddress(range.start().0);
        self.0
            .map_range(&range, pa, what.attributes(), Constraints::empty())
    }

    /// Puts the tables to use, for good.
    pub(crate) fn activate(self) {
        // SAFETY: All that the program uses is mapped as it was, and the tables live in a static.
        // That nothing can be both written and executed is set last (SCTLR_EL1.WXN).
        unsafe {
            self.0.activate();
            asm!(
                "tlbi vmalle1",
                "dsb nsh",
                "mrs {tmp}, sctlr_el1",
                "orr {tmp}, {tmp}, #0x80000",
                "msr sctlr_el1, {tmp}",
                "isb",
                tmp = out(reg) _,
                options(nostack),
            );
        }
        core::mem::forget(self);
        // The uncached pages were mapped cached until now: whatever the caches hold of them goes.
        let line = 4usize << ((crate::cpu::read_register!("ctr_el0") >> 16) & 0xf);
        for address in (symbol::uncached_begin()..symbol::uncached_end()).step_by(line) {
            // SAFETY: Writes back and drops a line of our own memory.
            unsafe { asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) }
        }
        // SAFETY: A barrier has no other effect.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
    }
}
